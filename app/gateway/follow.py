"""One connection's place in one session's log: live entries as they come, everything else from the log itself."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Literal

from app import logs
from app.errors import SessionEnded, StoreError, StoreUnavailable
from app.gateway.folds import Folds
from app.gateway.outbox import Outbox
from app.metrics import RESETS
from app.protocol import codec
from app.protocol.frames import START, Position, Reset
from app.store.base import Gateway, LogEntry, Page

log = logs.get(__name__)

RETRY_SECONDS = 1.0
"""About how long to wait before asking a store again that did not answer."""


class Follower:
    """A `Listener` that puts every entry after a position into an outbox, once and in order.

    The log is the truth and notices only make it faster: an entry that joins up goes straight on; whatever does
    not, or the suspicion that one was lost, makes it read pages until it has caught up, in one task, at the pace
    of the outbox. Where the log does not join up with the position, one `reset` takes the place of all before.
    `stop(error)` is called once it cannot go on: the session ended, is gone, or the server is at fault. `check` is
    awaited whenever the log was read again; what it raises stops the follower too.
    """

    __slots__ = ("_again", "_check", "_folds", "_live", "_outbox", "_session", "_stop", "_store", "_task", "position")

    def __init__(
        self,
        store: Gateway,
        folds: Folds,
        session: str,
        outbox: Outbox,
        stop: Callable[[Exception], None],
        check: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._folds = folds
        self._session = session
        self._outbox = outbox
        self._stop = stop
        self._check = check
        self._task: asyncio.Task[None] | None = None
        self._live = False
        self._again = False
        self.position = START

    def start(self, since: Position, page: Page) -> None:
        """Begin after `since`; `page` is what the log said to it when the listening had begun already."""
        self.position = since
        self._task = asyncio.create_task(self._run(page))

    def cancel(self) -> None:
        """Stop following."""
        self._live = False
        if self._task is not None:
            self._task.cancel()

    # ---- as a listener

    def deliver(self, entry: LogEntry) -> None:
        """Take an entry that was just added."""
        if not self._live:
            self._again = True
        elif entry.first == self.position.seq + 1 and self._outbox.has_room(len(entry.frame)):
            self._pass_on(entry)
        # an old entry under another mark: late, or written anew by a store that lost the one we had
        elif entry.last > self.position.seq or entry.mark != self.position.mark:
            self.look()

    def look(self) -> None:
        """Read the log again."""
        self._again = True
        if self._live:
            self._live = False
            self._task = asyncio.create_task(self._run(None))

    def ended(self) -> None:
        """The session has ended, and its log with it."""
        self._stop(SessionEnded(self._session))

    # ---- reading

    async def _run(self, page: Page | None) -> None:
        try:
            while True:
                try:
                    return await self._catch_up(page)
                except StoreUnavailable:
                    log.warning("replay_waits_for_store", session=self._session)
                page = None
                await asyncio.sleep(RETRY_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311  # spreads, hides nothing
        except Exception as error:  # noqa: BLE001  # the connection closes with it
            self._stop(error)

    async def _catch_up(self, page: Page | None) -> None:
        while True:
            if page is None:
                self._again = False
                page = await self._store.read(self._session, self.position)
                await self._check()
            if page.join == "ok":
                await self._replay(page)
            else:
                await self._reset(page.join)
            # what is told of while we read may or may not be in what we read: only another look knows
            if not self._again and self.position.seq >= page.head.seq:
                break
            page = None
        self._live = True
        self._task = None

    async def _replay(self, page: Page) -> None:
        for entry in page.entries:
            await self._room_for(entry.frame)
            self._pass_on(entry)
        if not page.entries and self.position.seq < page.head.seq:
            raise StoreError(f"the log ends at {self.position.seq}, its head is said to be {page.head.seq}")

    def _pass_on(self, entry: LogEntry) -> None:
        if entry.first > self.position.seq + 1:
            raise StoreError(f"the log goes on at {entry.first} after {self.position.seq}")
        self._outbox.put(entry.frame)
        self.position = Position(entry.last, entry.mark)

    async def _reset(self, reason: Literal["ahead", "trimmed", "diverged"]) -> None:
        position, snapshot = await self._folds.of(self._session)
        frame = codec.encode(Reset(reason=reason, head=position, snapshot=snapshot))
        await self._room_for(frame)
        self._outbox.put(frame)
        self.position = position
        RESETS.labels(reason).inc()
        log.info("reset", session=self._session, reason=reason, seq=position.seq)

    async def _room_for(self, frame: bytes) -> None:
        while not self._outbox.has_room(len(frame)):
            await self._outbox.drained()
