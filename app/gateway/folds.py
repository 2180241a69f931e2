"""Conversations folded for those whose log does not join up: each once for all who wait for it, a few at a time."""

from __future__ import annotations

import asyncio

import orjson

from app.protocol.fold import Fold
from app.protocol.frames import Position, Snapshot
from app.store.base import Gateway

AT_ONCE = 2
"""Conversations that are folded at the same time: each holds a log in memory, and the loop for its entries."""

YIELD_BYTES = 65_536
"""Bytes of a log after which a fold lets the loop go round."""


class Folds:
    """Folds conversations up to their logs' heads."""

    def __init__(self, store: Gateway) -> None:
        self._store = store
        self._room = asyncio.Semaphore(AT_ONCE)
        self._folding: dict[str, asyncio.Task[tuple[Position, Snapshot]]] = {}

    async def of(self, session: str) -> tuple[Position, Snapshot]:
        """A session's conversation, and up to where. Raises: NoSuchSession, SessionEnded, StoreUnavailable."""
        task = self._folding.get(session)
        if task is None:
            task = self._folding[session] = asyncio.create_task(self._fold(session))
            task.add_done_callback(lambda done: self._done(session, done))
        return await asyncio.shield(task)

    def _done(self, session: str, task: asyncio.Task[tuple[Position, Snapshot]]) -> None:
        del self._folding[session]
        if not task.cancelled():
            task.exception()  # whoever waits hears of it; if all have left, nobody needs to

    async def _fold(self, session: str) -> tuple[Position, Snapshot]:
        async with self._room:
            fold = await self._whole(session)
        return fold.position, Snapshot(**fold.snapshot())

    async def _whole(self, session: str) -> Fold:
        """The log folded to its head. If it is trimmed under us, begin anew."""
        while True:
            snapshot = await self._store.snapshot(session)
            fold = Fold.load(snapshot.data) if snapshot.data else Fold()
            position = snapshot.floor
            page = await self._store.read(session, position)
            while page.join == "ok":
                size = 0
                for entry in page.entries:
                    fold.apply(orjson.loads(entry.frame))
                    position = Position(entry.last, entry.mark)
                    size += len(entry.frame)
                    if size > YIELD_BYTES:
                        size = 0
                        await asyncio.sleep(0)
                if position.seq >= page.head.seq:
                    return fold
                page = await self._store.read(session, position)
