"""What a client keeps of its inputs and how it numbers them, as docs/protocol.md says under "Counting"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.chaos.journal import Frame


@dataclass(eq=False)
class Kept:
    """An input that the client may have to send again. `frame` has no number; `turn` is its turn, once it is known."""

    n: int
    frame: Frame
    turn: str = ""

    @property
    def is_message(self) -> bool:
        """Whether it is kept until its turn has ended; all else is kept until it is acknowledged."""
        return bool(self.frame["type"] == "message")

    @property
    def numbered(self) -> Frame:
        """The frame as it is sent."""
        return {**self.frame, "n": self.n}


class Row:
    """The inputs of one client in one session."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.last = 0
        self.taken: Frame | None = None
        """The last message that was acknowledged, numbered."""
        self._over: set[str] = set()

    def add(self, frame: Frame) -> Kept:
        """Give a new input the next number."""
        self.last += 1
        kept = Kept(self.last, frame)
        self.kept.append(kept)
        return kept

    def welcomed(self, acked: int, *, known: bool) -> list[Kept]:
        """What to send after a `welcome`: all above `acked`, numbered on from there, and what has no turn yet."""
        self.kept = [kept for kept in self.kept if kept.is_message or kept.n > acked or not known]
        lost = [kept for kept in self.kept if kept.n > acked or not known]
        unsure = [kept for kept in self.kept if kept not in lost and kept.is_message and not kept.turn]
        self._number(lost, acked + 1 if known else 1)
        return unsure + lost

    def refused(self, n: int) -> list[Kept]:
        """What to send again after a number was refused for now."""
        return [kept for kept in self.kept if kept.n >= n]

    def conflicted(self, n: int) -> list[Kept]:
        """What to send again after a number was found used for another input, of which a lost tail made us forget."""
        found = [kept for kept in self.kept if kept.n == n]
        self.kept = [kept for kept in self.kept if kept.n != n]
        return [self.add(kept.frame) for kept in found]

    def acknowledged(self, n: int, turn: str) -> None:
        """An `ack` came."""
        for kept in [kept for kept in self.kept if kept.n == n]:
            if kept.is_message:
                self.taken = kept.numbered
                kept.turn = turn or kept.turn
            else:
                self.kept.remove(kept)
        self._let_go()

    def echoed(self, message: str, turn: str) -> None:
        """A turn showed the message that it answers."""
        for kept in self.kept:
            if kept.frame.get("id") == message:
                kept.turn = turn

    def ended(self, turn: str) -> None:
        """A turn's terminal event came."""
        self._over.add(turn)
        self._let_go()

    def reset(self, snapshot: Mapping[str, Any]) -> None:
        """A message has ended unseen if the snapshot has it and its turn is not open."""
        running = {thing["id"] for thing in snapshot["open"] if thing["kind"] == "turn"}
        shown = {message["id"] for message in snapshot["messages"]}
        self._over -= running
        for kept in self.kept:
            if kept.frame.get("id") in shown and (kept.turn not in running if kept.turn else not running):
                self._over.add(kept.turn)
        self.kept = [kept for kept in self.kept if not (kept.frame.get("id") in shown and kept.turn in self._over)]

    def _let_go(self) -> None:
        self.kept = [kept for kept in self.kept if not kept.turn or kept.turn not in self._over]

    def _number(self, kept: list[Kept], first: int) -> None:
        for n, each in enumerate(kept, first):
            each.n = n
        self.last = first + len(kept) - 1
