"""A server's side of the counting rules, exact to the letter: what it keeps, and what it answers."""

from __future__ import annotations

from typing import Any

from app.protocol.frames import Ack, ErrorFrame

CONTROLS = {"answer", "cancel", "end"}


class CountingError(AssertionError):
    """The client broke the counting rules."""


class Model:
    """One client's inputs in one session. `kept` has them in order; those of ended turns are never lost."""

    def __init__(self) -> None:
        self.kept: list[tuple[dict[str, Any], str | None]] = []
        self.ended = 0
        self.busy = False
        self.unsure = False
        self._records: dict[int, tuple[dict[str, Any], Ack]] = {}
        self._last = 0
        self._known = False
        self._refused = False
        self._doubts: set[int] = set()
        self._turns = 0

    def hello(self) -> tuple[int, bool]:
        """A new connection: what was accepted, and whether the client is known."""
        self._refused = False
        return self._last, self._known

    def accept(self, frame: dict[str, Any]) -> Ack | ErrorFrame:
        """An input comes in. Raises: CountingError."""
        n, body = frame["n"], {name: value for name, value in frame.items() if name != "n"}
        if n <= self._last:
            return self._repeat(n, body)
        if n > self._last + 1:
            if not self._refused:
                raise CountingError(f"{n} came after {self._last}")
            return self._error("out_of_order", n)
        if body.get("content") == "bad":
            return self._error("bad_frame", n)
        if self.busy and body["type"] not in CONTROLS:
            return self._error("busy", n)
        ack = self._keep(n, body)
        if self.unsure:
            # the store took it, and the server had no word of it
            self._doubts.add(n)
            return self._error("busy", n)
        return ack

    def _repeat(self, n: int, body: dict[str, Any]) -> Ack | ErrorFrame:
        before, ack = self._records[n]
        if before == body:
            self._doubts.discard(n)
            return ack.model_copy(update={"duplicate": True})
        if n in self._doubts:
            return ErrorFrame(code="conflict", message="because", n=n, fatal=False)
        raise CountingError(f"{n} was {before} and is {body}")

    def end_turn(self) -> str | None:
        """The oldest turn ends, if there is one."""
        for index in range(self.ended, len(self.kept)):
            turn = self.kept[index][1]
            if turn is not None:
                self.ended = index + 1
                return turn
        return None

    def lose(self, count: int) -> None:
        """The store loses its last inputs, up to `count`, and the numbers they had."""
        lost = min(count, len(self.kept) - self.ended, len(self._records))
        if lost:
            del self.kept[-lost:]
            for _ in range(lost):
                del self._records[self._last]
                self._last -= 1

    def forget(self) -> None:
        """The store loses all it had, and the client with it."""
        self.kept.clear()
        self.ended = 0
        self._records.clear()
        self._last = 0
        self._known = False

    def messages(self) -> list[str]:
        """What the kept messages say."""
        return [body["content"] for body, _ in self.kept if body["type"] == "message"]

    def controls(self) -> int:
        """How many controls are kept."""
        return sum(body["type"] in CONTROLS for body, _ in self.kept)

    def _keep(self, n: int, body: dict[str, Any]) -> Ack:
        turn = None
        if body["type"] not in CONTROLS:
            self._turns += 1
            turn = f"t{self._turns}"
        ack = Ack(n=n, index=n, turn=turn, duplicate=False, queued=0)
        self.kept.append((body, turn))
        self._records[n] = body, ack
        self._last, self._known, self._refused = n, True, False
        return ack

    def _error(self, code: str, n: int) -> ErrorFrame:
        self._refused = True
        return ErrorFrame(code=code, message="because", n=n, retry_after_ms=5 if code == "busy" else None, fatal=False)
