"""What was read from the log and waits for the consumer, and how far the client has it."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

from app.client.errors import OutOfStep
from app.protocol.frames import Events, Position, Reset, Snapshot

MAX_EVENTS = 1_000
"""Events that wait for the consumer; with as many, reading stops. One frame may go beyond."""

MAX_BYTES = 1024 * 1024
"""Their bytes together, as read."""


class Event(NamedTuple):
    """One event of the session's log. `turn` is None for what belongs to none; `event` is the AG-UI object."""

    position: Position
    turn: str | None
    attempt: int
    event: dict[str, Any]


class ResetEvent(NamedTuple):
    """The log does not join up with what was handed out before: `snapshot` replaces all of it.

    `snapshot` is the conversation up to `position`, as the protocol's `reset` has it; `reason` is `trimmed`,
    `ahead` or `diverged`.
    """

    position: Position
    reason: str
    snapshot: Snapshot


Item = Event | ResetEvent

Place = tuple[int, int]
"""Resets so far, and the `seq` after them: grows with everything that is handed out, as `seq` alone does not."""


class Buffer:
    """Events in order, each once.

    `position` is that of the last event taken in, which is what a server is told as `since`: from then on it
    is in this process's memory and will be handed out. `handed` is the place the consumer has come to.
    `left_out` is true while newer events were passed over for want of room, to be read again later.
    """

    def __init__(self, position: Position) -> None:
        self.position = position
        self.handed: Place = (0, position.seq)
        self.left_out = False
        self._resets = 0
        self._items: deque[tuple[Item, int]] = deque()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._items)

    def full(self) -> bool:
        """Whether reading should stop."""
        return len(self._items) >= MAX_EVENTS or self._bytes >= MAX_BYTES

    def roomy(self) -> bool:
        """Whether it is worth reading again what was left out."""
        return len(self._items) <= MAX_EVENTS // 2 and self._bytes <= MAX_BYTES // 2

    def place(self, seq: int) -> Place:
        """Where an event of the log as it is now will stand."""
        return (self._resets, seq)

    def news(self, frame: Events) -> list[dict[str, Any]]:
        """The events of a frame that were not seen before. Raises: OutOfStep if some before it are missing."""
        if frame.seq > self.position.seq + 1 and not self.left_out:
            raise OutOfStep(f"event {self.position.seq + 1} is missing: {frame.seq} came after it")
        return frame.events[max(0, self.position.seq + 1 - frame.seq) :]

    def take(self, frame: Events, size: int) -> None:
        """Add what is new in a frame of `size` bytes."""
        for event in self.news(frame):
            self.position = Position(self.position.seq + 1, frame.mark)
            self._items.append((Event(self.position, frame.turn, frame.attempt, event), 0))
        # the frame's memory is freed with its last event
        self._items[-1] = (self._items[-1][0], size)
        self._bytes += size

    def replace(self, reset: Reset, size: int) -> None:
        """Put a reset in the place of all that waits."""
        self.position = reset.head
        self.left_out = False
        self._resets += 1
        self._items.clear()
        self._items.append((ResetEvent(reset.head, reset.reason, reset.snapshot), size))
        self._bytes = size

    def pop(self) -> Item:
        """The next for the consumer. Raises: IndexError if there is none."""
        item, size = self._items.popleft()
        self._bytes -= size
        # a reset clears what waits before it, so the one that is popped is the latest
        resets = self._resets if isinstance(item, ResetEvent) else self.handed[0]
        self.handed = (resets, item.position.seq)
        return item
