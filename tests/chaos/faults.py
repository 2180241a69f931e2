"""How each kind of fault is brought about."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random

from tests.chaos import remains
from tests.chaos.cluster import Cluster, Node
from tests.chaos.company import Company
from tests.chaos.journal import Fault, Over, Writer
from tests.chaos.schedule import FATAL, KINDS, Planned, Schedule

FAR = 0.15
"""Seconds that each chunk takes each way on a long line."""

THIN = 40_000
"""Bytes a second on a thin one."""


class Faults:
    """Brings the faults of a schedule about. Those of one worker, and those of the store, come one after the other."""

    def __init__(self, cluster: Cluster, company: Company, journal: Writer, seed: int) -> None:
        self._cluster = cluster
        self._company = company
        self._journal = journal
        self._rng = Random(f"faults {seed}")
        self._begun = 0
        self._free = {worker: asyncio.Lock() for worker in range(-1, len(cluster.nodes))}

    async def perform(self, schedule: Schedule) -> None:
        """Bring all of them about; returns when the last is over."""
        async with asyncio.TaskGroup() as group:
            for fault in schedule.faults:
                await asyncio.sleep(fault.pause)
                task = group.create_task(self._fault(fault))
                if schedule.alone:
                    await task

    async def _fault(self, fault: Planned) -> None:
        async with self._free[fault.worker]:
            self._begun += 1
            number = self._begun
            await self._note(fault, number)
            if fault.worker < 0:
                await STORE[fault.name](self._cluster, fault.seconds)
            else:
                await WORKER[fault.name](self._cluster.nodes[fault.worker], fault.seconds, self._rng)
            self._journal.write(Over(number=number))

    async def _note(self, fault: Planned, number: int) -> None:
        node = None if fault.worker < 0 else self._cluster.nodes[fault.worker]
        hits = await remains.hits(self._cluster, node, self._company.sessions) if node and fault.name in FATAL else []
        self._journal.write(
            Fault(
                number=number,
                name=fault.name,
                worker=fault.worker,
                seconds=fault.seconds,
                loses=KINDS[fault.name].loses,
                hits=hits,
            )
        )


# ---- to one worker, or on its ways


async def _killed(node: Node, _: float, __: Random) -> None:
    await node.kill()


async def _frozen(node: Node, seconds: float, _: Random) -> None:
    await node.freeze(seconds)


async def _drained(node: Node, _: float, __: Random) -> None:
    await node.replace()


async def _subscribers_cut(node: Node, _: float, __: Random) -> None:
    node.store.reset(only="subscriber")


async def _reply_dropped(node: Node, _: float, rng: Random) -> None:
    node.store.drop_reply(rng.randint(1, 20))
    await asyncio.sleep(0.5)


async def _stalled_up(node: Node, seconds: float, _: Random) -> None:
    node.store.stall("up")
    await asyncio.sleep(seconds)
    node.store.flow()


async def _stalled_down(node: Node, seconds: float, _: Random) -> None:
    node.store.stall("down")
    await asyncio.sleep(seconds)
    node.store.flow()


async def _store_far(node: Node, seconds: float, _: Random) -> None:
    node.store.delay(FAR)
    await asyncio.sleep(seconds)
    node.store.delay(0)


async def _store_thin(node: Node, seconds: float, _: Random) -> None:
    node.store.throttle(THIN)
    await asyncio.sleep(seconds)
    node.store.throttle(None)


async def _clients_stalled(node: Node, seconds: float, rng: Random) -> None:
    node.clients.stall(rng.choice(("up", "down")))
    await asyncio.sleep(seconds)
    node.clients.flow()


async def _clients_far(node: Node, seconds: float, _: Random) -> None:
    node.clients.delay(FAR)
    await asyncio.sleep(seconds)
    node.clients.delay(0)


async def _clients_thin(node: Node, seconds: float, _: Random) -> None:
    node.clients.throttle(THIN)
    await asyncio.sleep(seconds)
    node.clients.throttle(None)


async def _clients_reset(node: Node, _: float, __: Random) -> None:
    node.clients.reset()


async def _client_cut(node: Node, _: float, __: Random) -> None:
    node.clients.cut_in_frame()


WORKER: dict[str, Callable[[Node, float, Random], Awaitable[None]]] = {
    "worker killed": _killed,
    "worker frozen": _frozen,
    "worker drained": _drained,
    "subscribers cut": _subscribers_cut,
    "reply dropped": _reply_dropped,
    "way to the store stalled": _stalled_up,
    "way from the store stalled": _stalled_down,
    "store far away": _store_far,
    "store's line throttled": _store_thin,
    "clients stalled": _clients_stalled,
    "clients far away": _clients_far,
    "clients throttled": _clients_thin,
    "clients reset": _clients_reset,
    "client cut in mid-frame": _client_cut,
}


# ---- to the store


async def _store_killed(cluster: Cluster, _: float) -> None:
    await cluster.restart_store()


async def _scripts_flushed(cluster: Cluster, _: float) -> None:
    await cluster.flush_scripts()


STORE: dict[str, Callable[[Cluster, float], Awaitable[None]]] = {
    "store killed": _store_killed,
    "file tail cut": Cluster.lose_tail,
    "lagging replica promoted": Cluster.promote,
    "scripts flushed": _scripts_flushed,
    "memory full": Cluster.fill_memory,
}
