"""What somebody has of a session's log, and the turns as it tells of them. Takes whatever came, however wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from app.protocol.frames import Position
from tests.chaos.journal import Frame, Received
from tests.chaos.workload import Input
from tests.support.wire import Placed, placed

TERMINAL = frozenset({"RUN_FINISHED", "RUN_ERROR"})
"""The events that end a turn."""


@dataclass(frozen=True)
class Piece:
    """One `events` frame, as somebody has it since `t`: the very text, and the same parsed."""

    t: float
    text: str
    frame: Frame

    @property
    def first(self) -> int:
        """The position of its first event."""
        return int(self.frame["seq"])

    @property
    def last(self) -> int:
        """The position of its last event."""
        return self.first + len(self.frame["events"]) - 1

    @property
    def mark(self) -> str:
        return str(self.frame["mark"])

    @property
    def attempt(self) -> int:
        return int(self.frame["attempt"])

    @property
    def begins(self) -> bool:
        """Whether an attempt begins in it."""
        return any(event["type"] == "RUN_STARTED" for event in self.frame["events"])


@dataclass(frozen=True)
class Strand:
    """What somebody has of a log in one go, from behind `since` on: the store, or a tab between two resets.

    `where` says whose it is, `reset` is the frame that it began with, if one did.
    """

    where: str
    session: str
    since: Position
    reset: Received | None = None
    pieces: list[Piece] = field(default_factory=list)

    @property
    def end(self) -> Position:
        """The position of its last event."""
        return Position(self.pieces[-1].last, self.pieces[-1].mark) if self.pieces else self.since

    @cached_property
    def events(self) -> list[Placed]:
        """Its events, one by one."""
        return list(placed(piece.frame for piece in self.pieces))

    @cached_property
    def turns(self) -> list[Told]:
        """Its turns, in the order in which they begin."""
        pieces: defaultdict[str, list[Piece]] = defaultdict(list)
        for piece in self.pieces:
            pieces[piece.frame["turn"] or ""].append(piece)
        return [Told(turn, self, of) for turn, of in pieces.items() if turn]

    @cached_property
    def ended(self) -> set[str]:
        """The turns whose end it has."""
        return {turn.id for turn in self.turns if turn.end is not None}


@dataclass(frozen=True)
class Told:
    """A turn, as a strand tells of it."""

    id: str
    strand: Strand
    pieces: list[Piece]

    @property
    def where(self) -> str:
        """Whose tale it is, for people."""
        return f"{self.strand.where}: turn {self.id}"

    @cached_property
    def events(self) -> list[Placed]:
        """Its events, one by one."""
        return list(placed(piece.frame for piece in self.pieces))

    @cached_property
    def end(self) -> Placed | None:
        """Its terminal event."""
        return next((place for place in self.events if place.event["type"] in TERMINAL), None)

    @property
    def has_begun(self) -> bool:
        """Whether the strand has its beginning."""
        return self.pieces[0].attempt == 1 and self.pieces[0].begins

    @property
    def is_whole(self) -> bool:
        """Whether the strand has both its beginning and its end."""
        return self.has_begun and self.end is not None

    @property
    def echoes(self) -> dict[str, str]:
        """The user's messages in it by their ids; an answer to an ask is none."""
        return {id_: text for id_, (role, text) in self._shown.items() if role == "user" and not _is_answer(id_)}

    @property
    def given(self) -> Input | None:
        """What the user said, as the turn echoes it; None of what is no user's turn."""
        said = "".join(self.echoes.values())
        return Input.of(said) if said else None

    @property
    def texts(self) -> list[str]:
        """The agent's messages, as they stand in the end."""
        return [text for role, text in self._shown.values() if role == "assistant"]

    @property
    def resolutions(self) -> list[Frame]:
        """How its asks were resolved."""
        return [place.event["value"] for place in self.events if place.event.get("name") == "parley.ask_resolved"]

    @cached_property
    def _shown(self) -> dict[str, tuple[str, str]]:
        return shown(self.events)


def shown(places: Iterable[Placed]) -> dict[str, tuple[str, str]]:
    """Role and text of the messages that stand in the end, by their ids. What lacks its beginning has no role."""
    messages: dict[str, tuple[str, str]] = {}
    for place in places:
        match place.event:
            case {"type": "TEXT_MESSAGE_START", "messageId": id_, "role": role}:
                messages[id_] = (role, "")
            case {"type": "TEXT_MESSAGE_CONTENT", "messageId": id_, "delta": delta}:
                role, text = messages.get(id_, ("", ""))
                messages[id_] = (role, text + delta)
            case {"name": "parley.superseded", "value": {"messages": ids}}:
                messages = {id_: message for id_, message in messages.items() if id_ not in ids}
    return messages


def _is_answer(message: str) -> bool:
    return message.endswith(".answer")
