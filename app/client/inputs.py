"""The inputs a client keeps and the numbers they carry: the counting rules of the protocol, without I/O."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from typing import cast

from app.client.buffer import Place
from app.client.errors import InputRefused, OutOfStep
from app.protocol.codec import body_of
from app.protocol.frames import Ack, ErrorFrame, Snapshot
from app.protocol.inputs import CONTROL_KINDS, Durable, MessageInput

MAX_KEPT = 1_000
"""Inputs kept at once; past it `send` waits."""

MAX_KEPT_BYTES = 16 * 1024 * 1024
"""Their bytes together; past it `send` waits."""

MAX_UNANSWERED = 32
"""Inputs on their way at once. A server remembers the acks of a client's last 64 numbers, so that a lost one
can be had again."""

MAX_ENDED = 1_000
"""Ended turns remembered, for acks that come after the end of their turn."""

MIN_RETRY = 0.05
"""Seconds before a refused input is tried again, at least."""

Until = Callable[[Callable[[], object]], Awaitable[None]]


class Sent:
    """An input on its way: kept until the server has no more use for a second copy.

    `n` is its number; it changes if an input before it is refused, or if the server lost something.
    """

    __slots__ = ("_until", "ack", "body", "ended_at", "error", "kind", "message", "n", "offered", "waits")

    def __init__(self, frame: Durable, until: Until) -> None:
        self.kind = frame.type
        self.message = frame.id if isinstance(frame, MessageInput) else None
        self.body = body_of(frame)
        self.n = 0
        self.ack: Ack | None = None
        self.error: InputRefused | None = None
        self.ended_at: Place | None = None
        # under which number it was last refused for want of room or store
        self.offered: int | None = None
        self.waits = False
        self._until = until

    @property
    def turn(self) -> str | None:
        """The turn this input is; None before the ack, and for inputs that are none."""
        return self.ack.turn if self.ack is not None else None

    async def acked(self) -> Ack:
        """Wait until the server has it for good. Raises: InputRefused, and what ended the connection."""
        await self._until(lambda: self.ack or self.error)
        if self.error is not None:
            raise self.error
        return cast("Ack", self.ack)

    def frame(self) -> bytes:
        """The frame under its present number."""
        return b'{"n":%d,' % self.n + self.body[1:]

    def overtakes(self) -> bool:
        """Whether it goes ahead of inputs that wait for room: the server has room of its own for it."""
        return self.kind in CONTROL_KINDS and not self.waits


class Inputs:
    """The kept inputs of one client in one session.

    A message is kept until its turn has ended, since an ack alone is no end: the store may lose a tail and ask
    for it again. What is no turn is kept until its ack only. There would be nothing to tell when to let go of
    it, and a late copy may do harm: a cancel sent again would stop whichever turn is then the oldest.
    """

    def __init__(self) -> None:
        self._kept: dict[int, Sent] = {}
        self._bytes = 0
        self._next = 1
        # up to here the server is known to have taken every number
        self._taken = 0
        self._queue: deque[Sent] = deque()
        self._unanswered: set[int] = set()
        # after a refusal nothing goes out until all on its way is answered: numbers are about to change, and
        # an answer names nothing but its number
        self._held = False
        self._retry_at = 0.0
        self._ended: OrderedDict[str, Place] = OrderedDict()
        self.said_end = False

    def full(self) -> bool:
        """Whether no more can be kept."""
        return len(self._kept) >= MAX_KEPT or self._bytes >= MAX_KEPT_BYTES

    def keeps(self, sent: Sent) -> bool:
        """Whether it might be sent again."""
        return self._kept.get(sent.n) is sent

    def keep(self, sent: Sent) -> None:
        """Take an input in and number it."""
        self._number(sent)
        self._bytes += len(sent.body)
        self._queue.append(sent)
        self.said_end = self.said_end or sent.kind == "end"

    def welcomed(self, acked: int, *, known: bool) -> None:
        """Start on a new connection: what the server has not taken goes out again, in order, from `acked` + 1.

        An input it has taken without our seeing the ack is repeated as it is, for the ack and its turn.
        """
        self._taken = acked if known else 0
        self._unanswered.clear()
        self._retry_at = 0
        for sent in self._kept.values():
            if sent.n > self._taken:
                sent.ack = None
        self._held = any(sent.offered for sent in self._kept.values())
        self._renumber()

    def take(self, now: float) -> Sent | None:
        """The next input to write, in seconds of a monotonic clock; None if there is none or all must wait."""
        if len(self._unanswered) >= MAX_UNANSWERED or (self._held and self._unanswered):
            return None
        if self._held:
            self._go_on(now)
        if not self._queue:
            return None
        sent = self._queue.popleft()
        self._unanswered.add(sent.n)
        return sent

    def retry_at(self) -> float | None:
        """When `take` has something again that now must wait; None if no time decides it."""
        return self._retry_at if self._held and not self._unanswered else None

    def acked(self, ack: Ack) -> None:
        """The server has taken an input."""
        self._unanswered.discard(ack.n)
        self._taken = max(self._taken, ack.n)
        sent = self._kept.get(ack.n)
        if sent is None:
            return
        sent.ack, sent.offered = ack, None
        if ack.turn is None or sent.kind in CONTROL_KINDS:
            self._drop(sent)
        elif ack.turn in self._ended:
            self._end(sent, self._ended[ack.turn])

    def refused(self, n: int, error: ErrorFrame, now: float) -> None:
        """The server has not taken input `n`. Raises: OutOfStep."""
        self._unanswered.discard(n)
        sent = self._kept.get(n)
        if sent is None or sent.ack is not None:
            return
        if error.code == "out_of_order":
            if sent.n == self._taken + 1 and not self._held:
                raise OutOfStep(f"input {sent.n} is next and was refused as out of order")
        elif error.code == "busy" or error.retry_after_ms is not None:
            sent.offered, sent.waits = n, True
            self._retry_at = max(self._retry_at, now + max((error.retry_after_ms or 0) / 1_000, MIN_RETRY))
        elif error.code == "conflict":
            self._taken = max(self._taken, n)
            self._settle(sent, error)
        else:
            self._drop(sent)
            sent.error = InputRefused(error.code, error.message)
        self._held = True

    def ended(self, turn: str, place: Place) -> None:
        """A turn's terminal event was seen."""
        self._ended[turn] = place
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)
        for sent in self._kept.values():
            if sent.turn == turn:
                self._end(sent, place)
                break

    def replaced(self, snapshot: Snapshot, place: Place) -> None:
        """A snapshot took the log's place: what began and is not open in it has ended unseen."""
        begun = {message["id"] for message in snapshot.messages if message["role"] == "user"}
        running = {thing["id"] for thing in snapshot.open if thing["kind"] == "turn"}
        for sent in list(self._kept.values()):
            if sent.turn and sent.turn not in running and sent.message in begun:
                self._end(sent, place)

    def _settle(self, sent: Sent, error: ErrorFrame) -> None:
        """Another input has the number of this one.

        A server that got no word from its store says busy, and may find out later that the input was taken.
        If this one was put before it in the meantime, both go back to where they were.
        """
        sent.offered = None
        other = next((other for other in self._kept.values() if other.offered == sent.n), None)
        if other is None:
            self._drop(sent)
            sent.error = InputRefused(error.code, error.message)
            return
        other.waits = False
        sent.n, other.n = other.n, sent.n
        self._kept[sent.n], self._kept[other.n] = sent, other

    def _go_on(self, now: float) -> None:
        """After a refusal: let go first what may go ahead of the rest, one by one, and all when it is time."""
        is_time = now >= self._retry_at
        for sent in self._kept.values():
            sent.waits = sent.waits and not is_time
        self._renumber()
        ahead = [sent for sent in self._queue if sent.overtakes() or (sent.n <= self._taken and not sent.waits)]
        if is_time and not ahead:
            self._held = False
        else:
            self._queue = deque(ahead)

    def _renumber(self) -> None:
        """Number what was not taken anew, and queue what has no ack. Nothing may be on its way."""
        untaken = [sent for sent in self._kept.values() if sent.n > self._taken]
        if self._held:
            untaken.sort(key=lambda sent: not sent.overtakes())
        for sent in untaken:
            del self._kept[sent.n]
        self._next = self._taken + 1
        for sent in untaken:
            self._number(sent)
        self._queue = deque(sent for sent in self._kept.values() if sent.ack is None)

    def _number(self, sent: Sent) -> None:
        sent.n = self._next
        self._kept[sent.n] = sent
        self._next += 1

    def _end(self, sent: Sent, place: Place) -> None:
        sent.ended_at = place
        self._drop(sent)

    def _drop(self, sent: Sent) -> None:
        del self._kept[sent.n]
        self._bytes -= len(sent.body)
