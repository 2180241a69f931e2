"""Finds out which of the other workers have died: nobody hears them any more, and they do not renew."""

from __future__ import annotations

import asyncio

from app.store.base import Leases, Scan
from app.store.keys import PARTITIONS

LOOK_AGAIN = 0.3
"""Seconds over which nobody must hear a worker's channel; one that lost its connection subscribes anew in less."""

SILENT_FOR = 1.0
"""Seconds without a renewal before a worker that nobody hears is taken for dead."""


class Lookout:
    """Watches the workers beside this one. `lease` is a lease's length in seconds."""

    def __init__(self, store: Leases, worker: str, lease: float) -> None:
        self._store = store
        self._worker = worker
        self._silent_below = (lease - SILENT_FOR) * 1000
        self._listed: dict[int, set[str]] = {}
        self._unheard: dict[str, float] = {}

    def note(self, number: int, scan: Scan) -> None:
        """Learn from a scan who owns sessions in a partition."""
        self._listed[number] = scan.workers.keys() - {self._worker}

    def forget(self, worker: str) -> None:
        """Watch a worker no longer: it is dead, and its sessions are taken."""
        for listed in self._listed.values():
            listed.discard(worker)

    async def dead(self) -> list[str]:
        """Those of whom both signs are seen now. Raises: StoreError."""
        unheard = await self._store.unheard(sorted(set().union(*self._listed.values())))
        now = asyncio.get_running_loop().time()
        self._unheard = {worker: self._unheard.get(worker, now) for worker in unheard}
        suspects = [worker for worker, since in self._unheard.items() if now - since >= LOOK_AGAIN]
        return await self._silent(suspects) if suspects else []

    async def _silent(self, workers: list[str]) -> list[str]:
        # in all partitions: one in which it has no session any more tells nothing of when it renewed
        scans = await asyncio.gather(*(self._store.scan(number, ()) for number in range(PARTITIONS)))
        left = {worker: max(scan.workers.get(worker, 0) for scan in scans) for worker in workers}
        return [worker for worker in workers if left[worker] < self._silent_below]
