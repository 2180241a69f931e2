"""Three workers, the store and its replica: what the chaos suite breaks, and how each of them is broken and mended."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.chaos import agents, stand
from tests.chaos.proxy import FaultProxy
from tests.support.valkey import ValkeyProcess

WORKERS = 3

ENVIRONMENT = {
    "PARLEY_LEASE_TTL": str(stand.LEASE),
    "PARLEY_DRAIN_TIMEOUT": "3",
    "PARLEY_SEND_TIMEOUT": "2",
    "PARLEY_OUTBOX_BYTES": "262144",
    "PARLEY_TURN_MAX_ATTEMPTS": "50",  # no schedule makes a turn poisonous
}

HANDLERS = Path(agents.__file__).parent

STARTED_WITHIN = 40.0
"""Seconds in which a worker serves that is started until it does."""

STARTED = re.compile(rb'\{[^\n]*"worker_started"[^\n]*\}')

SYNCED_WITHIN = 10.0
"""Seconds in which a replica has what its primary has."""


class Node(stand.Worker):
    """One worker process, its way to the store, and its clients' way to it."""

    def __init__(self, number: int, folder: Path, store: int, program: tuple[str, ...]) -> None:
        super().__init__(folder / f"worker{number}", store, HANDLERS, program, ENVIRONMENT)
        self.number = number
        self.clients = FaultProxy(("127.0.0.1", 0))

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        await super().start()
        self.clients.upstream = ("127.0.0.1", self.server.port)
        await self.clients.start()

    async def stop(self) -> None:
        """End it, whatever state it is in."""
        await self.clients.stop()
        await super().stop()

    async def kill(self) -> None:
        """SIGKILL it, and start another in its place."""
        await asyncio.to_thread(self.server.kill_group)
        await self._start_again()

    async def replace(self) -> None:
        """SIGTERM it, wait until it has drained, and start another in its place."""
        await asyncio.to_thread(self.server.terminate)
        await self._start_again()

    async def _start_again(self) -> None:
        """Start it as often as it takes: it gives up where the store does not answer."""
        async with asyncio.timeout(STARTED_WITHIN):
            while True:
                try:
                    await asyncio.to_thread(self.server.start)
                except AssertionError:
                    continue
                return

    async def freeze(self, seconds: float) -> None:
        """SIGSTOP it for so long."""
        self.signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self.signal(signal.SIGCONT)

    @property
    def url(self) -> str:
        """Where its clients connect."""
        return f"ws://127.0.0.1:{self.clients.port}/ws"

    def name(self) -> str:
        """The id of the worker that runs at present, from its log."""
        started = STARTED.findall(self.server.log.read_bytes())
        name: str = json.loads(started[-1])["worker"]
        return name


class Cluster:
    """The workers, and the store that they share."""

    def __init__(self, folder: Path, program: tuple[str, ...], *, workers: int = WORKERS) -> None:
        self._program = program
        self._workers = workers
        self._folder = folder
        self.primary = ValkeyProcess(folder / "store")
        self.replica = ValkeyProcess(folder / "replica")
        self.nodes: list[Node] = []
        self.replication = FaultProxy(("127.0.0.1", 0))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Start all of it, and end it again."""
        async with AsyncExitStack() as stack:
            for store in (self.primary, self.replica):
                await asyncio.to_thread(store.start)
                stack.push_async_callback(asyncio.to_thread, store.stop)
            self.replication.upstream = ("127.0.0.1", self.primary.port)
            await self.replication.start()
            stack.push_async_callback(self.replication.stop)
            await self._follow()
            self.nodes = [Node(n, self._folder, self.primary.port, self._program) for n in range(self._workers)]
            for node in self.nodes:
                stack.push_async_callback(node.stop)
            await asyncio.gather(*(node.start() for node in self.nodes))
            yield

    # ---- what is done to the store

    async def restart_store(self) -> None:
        """SIGKILL the store, and start it on what it has on disk."""
        await asyncio.to_thread(self.primary.kill)
        await asyncio.to_thread(self.primary.start)

    async def lose_tail(self, seconds: float) -> None:
        """Have the store lose what it took during so many seconds."""
        written = self.primary.written()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self.primary.lose, written)

    async def promote(self, lag: float) -> None:
        """Let the replica lag by so many seconds, kill the store, and put the replica in its place."""
        await self._synced()
        self.replication.stall("down")
        await asyncio.sleep(lag)
        await asyncio.to_thread(self.primary.kill)
        async with self.replica.async_client() as replica:
            await replica.replicaof("NO", "ONE")
        for node in self.nodes:
            node.store.upstream = ("127.0.0.1", self.replica.port)
            node.store.reset()
        self.primary, self.replica = self.replica, self.primary
        await self._follow_anew()

    async def _follow_anew(self) -> None:
        """Have the former primary follow the new one."""
        self.replication.reset()
        self.replication.flow()
        self.replication.upstream = ("127.0.0.1", self.primary.port)
        await asyncio.to_thread(self.replica.start)
        await self._follow()

    async def _follow(self) -> None:
        async with self.replica.async_client() as replica:
            await replica.replicaof("127.0.0.1", str(self.replication.port))

    async def _synced(self) -> None:
        async with asyncio.timeout(SYNCED_WITHIN), self.replica.async_client() as replica:
            while (await replica.info("replication"))["master_link_status"] != "up":
                await asyncio.sleep(0.05)

    async def flush_scripts(self) -> None:
        """Have the store forget every script."""
        async with self.primary.async_client() as store:
            await store.script_flush()

    async def fill_memory(self, seconds: float) -> None:
        """Have the store be out of memory for so long."""
        async with self.primary.async_client() as store:
            await store.config_set("maxmemory", "1mb")
            await asyncio.sleep(seconds)
            await store.config_set("maxmemory", "0")
