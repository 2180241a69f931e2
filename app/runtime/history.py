"""A session's log, read and folded by its owner."""

from __future__ import annotations

import orjson

from app.protocol.fold import Fold
from app.protocol.frames import Position
from app.store.base import Inbox


async def fold_all(store: Inbox, session: str) -> Fold:
    """The whole conversation, folded."""
    return await fold_oldest(store, session, seq=None, size=0)


async def fold_oldest(store: Inbox, session: str, *, seq: int | None, size: int) -> Fold:
    """The log folded up to `seq`, or further until `size` bytes of it are folded; whole if `seq` is None."""
    snapshot = await store.snapshot(session)
    fold = Fold.load(snapshot.data) if snapshot.data else Fold()
    at, folded = snapshot.floor, 0
    while True:
        page = await store.read(session, at)
        for entry in page.entries:
            if seq is not None and entry.last > seq and folded >= size:
                return fold
            fold.apply(orjson.loads(entry.frame))
            folded += len(entry.frame)
            at = Position(entry.last, entry.mark)
        if not page.entries or at.seq >= page.head.seq:
            return fold
