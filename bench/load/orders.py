"""What the load generator can be told to do."""

from __future__ import annotations

import asyncio
import itertools
import os
import statistics
from time import perf_counter
from typing import Any

from picows import ws_connect

from bench.load.clients import Client, Meter
from bench.load.wires import WIRES
from bench.usage import cpu_seconds

ADDRESS_HOLDS = 1_000
"""Connections from one address: far below the number of its ports, of which a cut connection keeps one for a minute."""

SETTLE_WITHIN = 60.0
"""Seconds that turns may take to end after a sample."""

LONGEST = 20.0
"""Seconds of a sample at most, where a peer is so slow that not every client had a turn."""

Answer = dict[str, Any]
Watch = dict[str, list[int]] | None
"""Processes whose time is counted meanwhile, by a name."""


class Load:
    """The clients of one peer. Every method is an order, and returns what is answered."""

    def __init__(self, wire: str, port: int) -> None:
        self._wire = WIRES[wire]
        self._url = f"ws://127.0.0.1:{port}{self._wire.PATH}"
        self._meter = Meter()
        self._numbers = itertools.count()
        self._clients: list[Client] = []

    async def open(self, count: int, parallel: int = 200) -> Answer:
        """Open connections, so many at once, until a turn may begin on each."""
        made = [self._wire(next(self._numbers), self._meter) for _ in range(count)]
        self._clients += made
        return await self._connect(made, parallel)

    async def turns(self, text: str, clients: int, seconds: float, warm: float = 0.5, watch: Watch = None) -> Answer:
        """Turns of so many clients, each one after the other, for so many seconds after a warm-up."""
        meter = self._meter
        meter.firsts = []
        meter.running = True
        self._begin(text, clients)
        await asyncio.sleep(warm)
        meter.restart()
        before, begun = _used(watch), perf_counter()
        await asyncio.sleep(seconds)
        while not meter.tokens and len(meter.ends) <= clients and perf_counter() - begun < LONGEST:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        after, took = _used(watch), perf_counter() - begun
        meter.running = False
        return {"turns_s": _rate(meter.ends, clients, took)} | self._found(took, before, after)

    async def each(self, text: str, times: int = 1, parallel: int = 50, watch: Watch = None) -> Answer:
        """So many turns of every client, one after the other; so many clients at once."""
        meter = self._meter
        meter.firsts = []
        meter.restart()
        gate = asyncio.Semaphore(parallel)

        async def one(client: Client) -> None:
            async with gate:
                for _ in range(times):
                    await client.turn(text)

        before, begun = _used(watch), perf_counter()
        async with asyncio.timeout(SETTLE_WITHIN):
            await asyncio.gather(*(one(client) for client in self._clients))
        return self._found(perf_counter() - begun, before, _used(watch))

    async def start(self, text: str) -> Answer:
        """Begin a turn on every connection, and do not wait for it."""
        self._begin(text, len(self._clients))
        return {}

    async def settle(self) -> Answer:
        """Wait for the turns that run."""
        async with asyncio.timeout(SETTLE_WITHIN):
            for client in self._clients:
                if client.idle is not None:
                    await client.idle
        return {}

    async def cut(self) -> Answer:
        """Cut all connections, and keep what they know."""
        for client in self._clients:
            client.cut()
        await asyncio.sleep(0.5)
        return {}

    async def close(self) -> Answer:
        """Let all turns end, and cut all connections."""
        await self.settle()
        await self.cut()
        self._clients = []
        return {}

    async def resume(self, parallel: int) -> Answer:
        """Connect again where the connections were cut, until each has all that it missed."""
        for client in self._clients:
            client.renew()
        return await self._connect(self._clients, parallel)

    async def remember(self) -> Answer:
        """Remember the place in each conversation, for `resume`."""
        for client in self._clients:
            client.remember()
        return {}

    async def sessions(self) -> Answer:
        """The sessions of all connections."""
        return {"sessions": [client.session for client in self._clients]}

    async def attach(self, sessions: list[str]) -> Answer:
        """Open one more connection to each session."""
        made = [self._wire(next(self._numbers), self._meter) for _ in sessions]
        for client, session in zip(made, sessions, strict=True):
            client.session = session
        self._clients += made
        return await self._connect(made, 200)

    async def taken_over(self) -> Answer:
        """When each session went on elsewhere: seconds of the monotonic clock."""
        async with asyncio.timeout(SETTLE_WITHIN):
            return {"times": [await client.taken_over for client in self._clients]}

    # ---- inside

    async def _connect(self, clients: list[Client], parallel: int) -> Answer:
        gate = asyncio.Semaphore(parallel)
        begun = perf_counter()
        seconds = await asyncio.gather(*(self._connected(client, gate) for client in clients))
        return {"seconds": perf_counter() - begun, **spread("connect", seconds)}

    async def _connected(self, client: Client, gate: asyncio.Semaphore) -> float:
        async with gate:
            begun = perf_counter()
            await ws_connect(
                lambda: client,
                self._url,
                local_addr=(self._address(client.number), 0),
                read_buffer_init_size=4096,
                websocket_handshake_timeout=60,
            )
            await client.ready
            return perf_counter() - begun

    @staticmethod
    def _address(number: int) -> str:
        # Each load generator has loopback addresses of its own: those before it left ports that are not free yet.
        return f"127.{1 + os.getpid() % 250}.{os.getpid() // 250 % 250}.{1 + number // ADDRESS_HOLDS % 250}"

    def _begin(self, text: str, clients: int) -> None:
        for client in self._clients[:clients]:
            client.start(text)

    def _found(self, seconds: float, before: dict[str, float], after: dict[str, float]) -> Answer:
        meter = self._meter
        return {
            "seconds": seconds,
            "turns": len(meter.ends),
            "tokens": meter.tokens,
            **spread("latency", meter.latencies),
            **spread("first", meter.firsts),
            "cpu": {name: after[name] - before[name] for name in after},
        }


def _rate(ends: list[float], clients: int, seconds: float) -> float:
    """Turns a second; over whole rounds of the clients, where a peer lets them end all together."""
    whole = (len(ends) - 1) // clients * clients
    return whole / (ends[whole] - ends[0]) if whole > 0 else len(ends) / seconds


def _used(watch: Watch) -> dict[str, float]:
    return {name: cpu_seconds(pids) for name, pids in (watch or {}).items()}


def spread(name: str, seconds: list[float]) -> dict[str, float | None]:
    """The middle, the 99th of a hundred and the last, in milliseconds; None if there is none."""
    if not seconds:
        return dict.fromkeys((f"{name}_p50", f"{name}_p99", f"{name}_max"))
    cuts = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    return {f"{name}_p50": cuts[49] * 1e3, f"{name}_p99": cuts[98] * 1e3, f"{name}_max": max(seconds) * 1e3}
