"""The one writer of a session's log: joins small deltas, numbers events, appends them in order.

Calls enqueue and return. The first event after a silence is appended as soon as the handler yields, the next
ones are joined over a window. One append is in flight at a time. A handler that never yields is answered by its
finishing append alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from app import logs
from app.errors import Fenced, Regressed, StoreError
from app.protocol import events
from app.protocol.codec import pack
from app.protocol.events import Event
from app.protocol.fold import Fold
from app.protocol.frames import Position
from app.runtime.history import fold_all, fold_oldest
from app.store.base import Batch, Claim, Inbox, LogEntry

log = logs.get(__name__)

BUFFER_BYTES = 262_144
"""Content that may wait for the store; past it authors' calls wait too."""

YIELD_EVERY = 64
"""Emits after which an author's call lets the loop go round, however little it has to wait for."""


class _Segment:
    """Events of one turn and attempt that are not appended yet. `deltas` belong to the open message `joining`."""

    __slots__ = ("attempt", "deltas", "events", "joining", "turn")

    def __init__(self, turn: str | None, attempt: int) -> None:
        self.turn = turn
        self.attempt = attempt
        self.events: list[Event] = []
        self.joining = ""
        self.deltas: list[str] = []

    def add(self, new: Sequence[Event]) -> None:
        if self.joining:
            self._settle()
        self.events += new

    def stream(self, message_id: str, delta: str) -> None:
        if self.joining != message_id:
            self._settle()
            self.joining = message_id
        self.deltas.append(delta)

    def settled(self) -> list[Event]:
        if self.joining:
            self._settle()
        return self.events

    def _settle(self) -> None:
        if self.deltas:
            text = "".join(self.deltas)
            self.events += [events.text_content(self.joining, piece) for piece in events.pieces(text)]
            self.deltas = []
        self.joining = ""


class Emitter:
    """Writes one session's log under one lease. `lost` is called once if the lease or the log's tail is lost."""

    def __init__(
        self,
        store: Inbox,
        claim: Claim,
        loop: asyncio.AbstractEventLoop,
        *,
        window: float,
        keep: tuple[int, int],
        lost: Callable[[StoreError], None],
    ) -> None:
        self.head = claim.head
        self._store = store
        self._claim = claim
        self._loop = loop
        self._window = window
        self._keep_events, self._keep_bytes = keep
        self._floor = claim.floor
        self._log_bytes = claim.log_bytes
        self._lost = lost
        self._segments: list[_Segment] = []
        self._ending: tuple[str, int, Sequence[Event]] | None = None
        self._bytes = 0
        self._emits = 0
        self._batches = 0
        self._started: tuple[str, int] | None = None
        self._settled: list[int] = []
        self._asks: dict[str, bytes] = {}
        self._steps: dict[str, bytes] = {}
        self._soon: asyncio.Handle | None = None
        self._pump: asyncio.Task[None] | None = None
        self._held = False
        self._one = asyncio.Lock()
        self._commits: set[asyncio.Task[bool]] = set()
        self._room: asyncio.Event | None = None
        self.failure: StoreError | None = None

    @property
    def is_long(self) -> bool:
        """Whether the log is past its bound; the next append that keeps the lease folds it."""
        return self.head.seq - self._floor.seq > self._keep_events or self._log_bytes > self._keep_bytes

    def emit(self, turn: str | None, attempt: int, new: Sequence[Event], size: int = 256) -> bool:
        """Enqueue events, of about `size` bytes. Answers whether `room` is to be awaited by whoever can."""
        self._segment(turn, attempt).add(new)
        return self._count(size)

    def end(self, turn: str, attempt: int, last: Sequence[Event]) -> None:
        """Enqueue the events that end a turn. Only the append that ends it in the store takes them, as its last ones.

        Another that was asked for before may still wait, and would tell of an end that is not one yet.
        """
        self._ending = turn, attempt, last

    def start(self, turn: str, attempt: int, new: Sequence[Event]) -> None:
        """Enqueue the events that begin an attempt; the store takes note of it with their append.

        They wait for `hurry`: a handler that is done at once needs no append before its last one.
        """
        self._started = (turn, attempt)
        self._segment(turn, attempt).add(new)

    def hurry(self) -> None:
        """Append what waits as soon as what is ready to run has run."""
        if self._pump is None and self._soon is None and not self._held:
            self._soon = self._loop.call_soon(self._begin)

    def settle(self, index: int) -> None:
        """Have an input leave the inbox with the append of what was emitted for it."""
        self._settled.append(index)

    def settles(self, index: int) -> bool:
        """Whether an input is still to leave the inbox."""
        return index in self._settled

    def note_ask(self, key: str, record: bytes) -> None:
        """Have the next append keep what is known of an ask of the running turn."""
        self._asks[key] = record

    def note_step(self, key: str, result: bytes) -> None:
        """Have the next append keep the result of a durable step of the running turn."""
        self._steps[key] = result

    def stream(self, turn: str, attempt: int, message_id: str, delta: str) -> bool:
        """Enqueue a piece of a message's text; neighbouring pieces become one event. Answers as `emit` does."""
        self._segment(turn, attempt).stream(message_id, delta)
        return self._count(len(delta))

    async def room(self) -> None:
        """Wait while too much waits for the store; else let the loop go round."""
        if self._room is None:
            await asyncio.sleep(0)
        else:
            await self._room.wait()

    async def flush(self) -> None:
        """Wait until the store has all that was emitted so far. Raises: Fenced, Regressed."""
        while self._segments or self._asks or self._steps or self._one.locked():
            await self.commit(Batch())

    async def history(self) -> Fold:
        """The conversation as the store has it."""
        return await fold_all(self._store, self._claim.session)

    async def commit(self, batch: Batch) -> None:
        """The same as `append` for code that may be cancelled.

        To cancel it is to wait no longer for an append that goes on: half of one would leave us not knowing where
        the log is. Raises as `append` does.
        """
        whole = asyncio.Task(self.append(batch), loop=self._loop)
        self._commits.add(whole)
        whole.add_done_callback(self._committed)
        await asyncio.shield(whole)

    def _committed(self, whole: asyncio.Task[bool]) -> None:
        self._commits.discard(whole)
        if not whole.cancelled():
            whole.exception()  # whoever waited has heard of it; after a cancel nobody needs to

    async def append(self, batch: Batch) -> bool:
        """Append all that waits, and what the batch holds, as one; answers whether the lease is given up.

        Not to be cancelled. Raises: Fenced, Regressed. Raises what a lost append raised before, if there was one.
        """
        self._unschedule()
        async with self._one:
            self._held = False
            if self.failure is not None:
                raise self.failure
            return await self._append(batch)

    def hold(self) -> None:
        """Append nothing until `append` is called, which is about to be: the turn's end takes all with it."""
        self._held = True
        self._unschedule()

    def drop(self, failure: StoreError) -> None:
        """Write no more; whatever waits is forgotten."""
        if self.failure is None:
            self.failure = failure
            self._unschedule()
            self._segments.clear()
            self._make_room()
            self._lost(failure)

    async def close(self) -> None:
        """Let go of the pump, and of the runner, which leads here."""
        self._unschedule()
        self._lost = _nobody
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    # ---- inside

    def _segment(self, turn: str | None, attempt: int) -> _Segment:
        if self._segments:
            last = self._segments[-1]
            if last.turn == turn and last.attempt == attempt:
                return last
        segment = _Segment(turn, attempt)
        self._segments.append(segment)
        return segment

    def _count(self, size: int) -> bool:
        if self.failure is not None:
            self._segments.clear()
            return False
        self._bytes += size
        self._emits += 1
        if self._pump is None:
            self.hurry()
        if self._bytes > BUFFER_BYTES:
            self._room = self._room or asyncio.Event()
            return True
        return self._emits % YIELD_EVERY == 0

    def _make_room(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    def _begin(self) -> None:
        self._soon = None
        self._pump = self._loop.create_task(self._pump_all())

    def _unschedule(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None

    async def _pump_all(self) -> None:
        try:
            while self._wanted():
                async with self._one:
                    if self._wanted():
                        await self._append(Batch())
                await asyncio.sleep(self._window)
        except (Fenced, Regressed):
            return  # `drop` has told whom it concerns
        finally:
            self._pump = None
        if self._wanted():
            self._begin()

    def _wanted(self) -> bool:
        return bool(self._segments) and not self._held and self.failure is None

    async def _append(self, batch: Batch) -> bool:
        if batch.finished and self._ending is not None:
            turn, attempt, last = self._ending
            self._segment(turn, attempt).add(last)
            self._ending = None
        segments, self._segments = self._segments, []
        self._bytes = 0
        self._batches += 1
        batch.id = f"{self._claim.mark}{self._batches}"
        batch.started, self._started = self._started, None
        batch.done += self._settled
        self._settled = []
        batch.asks, self._asks = self._asks, {}
        batch.steps, self._steps = self._steps, {}
        expected = seq = self.head.seq
        for segment in segments:
            for packed in pack(seq + 1, self._claim.mark, segment.turn, segment.attempt, segment.settled()):
                batch.entries.append(LogEntry(packed.first, packed.last, self._claim.mark, packed.frame))
                seq = packed.last
        try:
            done = await self._store.append(self._claim, expected, batch)
        except StoreError as error:
            self.drop(error)
            raise
        finally:
            self._make_room()
        if seq != expected:
            self.head = Position(seq, self._claim.mark)
        self._log_bytes = done.log_bytes
        if not done.released and self.is_long:
            await self._compact()
        return done.released

    async def _compact(self) -> None:
        """Fold all but the newer half of the log, so that this happens once in half a log."""
        try:
            fold = await fold_oldest(
                self._store,
                self._claim.session,
                seq=self.head.seq - self._keep_events // 2,
                size=self._log_bytes - self._keep_bytes // 2,
            )
            if fold.position.seq > self._floor.seq:
                self._log_bytes = await self._store.compact(self._claim, fold.position, fold.dump())
                self._floor = fold.position
        except StoreError as error:
            self.drop(error)
            raise


def _nobody(_: StoreError) -> None:
    """Who is told once the runner has gone."""
