"""A journal as the rules read it: what each tab had of its session's log, what it said and what was answered."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.protocol.frames import START, Position
from tests.chaos.journal import (
    Closed,
    Done,
    Fault,
    Frame,
    Journal,
    OfTab,
    Over,
    Quiet,
    Received,
    Record,
    Sent,
    Stored,
)
from tests.chaos.strands import Piece, Strand


@dataclass
class Said:
    """A durable frame that a tab sent, and what it was answered on that connection: `ack`, `error` or nothing."""

    sent: Sent
    answer: Received | None = None

    @property
    def n(self) -> int:
        return int(self.sent.frame["n"])

    @property
    def body(self) -> str:
        """What the frame says under whichever number: two inputs are the same if this is."""
        return json.dumps({name: value for name, value in self.sent.frame.items() if name != "n"}, sort_keys=True)

    @property
    def is_bad(self) -> bool:
        """Whether the server is to refuse it, unless it lost count."""
        return self.sent.intent in {"conflict", "skip"}

    @property
    def ack(self) -> Frame | None:
        """Its `ack`, if it got one."""
        return self.answer.frame if self.answer is not None and self.answer.frame["type"] == "ack" else None

    @property
    def refusal(self) -> str:
        """The code of the `error` that it got; empty if it got none."""
        return self.answer.frame["code"] if self.answer is not None and self.answer.frame["type"] == "error" else ""

    @property
    def turn(self) -> str:
        """The turn that it was acknowledged to be; empty if it was not, or is none."""
        return (self.ack or {}).get("turn") or ""


@dataclass(frozen=True)
class Tab:
    """One tab: all that it said and heard, and what that comes to."""

    name: str
    session: str
    records: list[Record]

    @cached_property
    def strands(self) -> list[Strand]:
        """What it had of the log, one after the other. A `hello` from elsewhere than its last position is a new one."""
        strands: list[Strand] = []
        for record in self.records:
            match record:
                case Sent(frame={"type": "hello"}):
                    since = _since(record.frame)
                    if not strands or strands[-1].end != since:
                        strands.append(Strand(f"tab {self.name} from {since.seq}", self.session, since))
                case Received() if record.frame["type"] == "reset":
                    head = Position(**record.frame["head"])
                    where = f"tab {self.name} from its reset to {head.seq}"
                    strands.append(Strand(where, self.session, head, record))
                case Received() if record.frame["type"] == "events":
                    strands[-1].pieces.append(Piece(record.t, record.text, record.frame))
        return strands

    @cached_property
    def said(self) -> list[Said]:
        """Its durable frames, each with its answer: answers to one number come in the order of its frames."""
        said: list[Said] = []
        waiting: defaultdict[tuple[int, int], deque[Said]] = defaultdict(deque)
        for record in self.records:
            if isinstance(record, Sent) and "n" in record.frame:
                said.append(Said(record))
                waiting[record.link, record.frame["n"]].append(said[-1])
            elif isinstance(record, Received) and record.frame["type"] in {"ack", "error"}:
                asked = waiting[record.link, record.frame.get("n", 0)]
                if asked:
                    asked.popleft().answer = record
        return said

    def received(self, kind: str) -> Iterator[Received]:
        """The frames of one type that it got."""
        return (record for record in self.records if isinstance(record, Received) and record.frame["type"] == kind)

    def is_attached(self, t: float) -> bool:
        """Whether it had a connection at that time."""
        last: Record | None = None
        for record in self.records:
            if record.t <= t and (isinstance(record, Closed) or _is_welcome(record)):
                last = record
        return last is not None and not isinstance(last, Closed)


class History:
    """A journal, digested once for all rules."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.loses = journal.run.loses
        self.stored = journal.stored

    @cached_property
    def tabs(self) -> list[Tab]:
        """The tabs that came to a session."""
        return [tab for name, records in self.journal.tabs.items() for tab in _tabs(name, records)]

    @cached_property
    def tabs_of(self) -> dict[str, list[Tab]]:
        """The tabs of each session."""
        return _grouped(self.tabs)

    def said_in(self, session: str) -> list[Said]:
        """All that the tabs of a session said."""
        return [said for tab in self.tabs_of[session] for said in tab.said]

    @cached_property
    def logs(self) -> dict[str, Strand]:
        """What the store has of each session's log: what is above its floor."""
        return {session: _log(stored) for session, stored in self.stored.items()}

    @cached_property
    def strands(self) -> list[Strand]:
        """All that anybody has."""
        return [*self.logs.values(), *(strand for tab in self.tabs for strand in tab.strands)]

    @cached_property
    def tales(self) -> list[Strand]:
        """The strands that differ: what two tabs have alike is told once."""
        return list({(s.session, s.since, *(piece.text for piece in s.pieces)): s for s in self.strands}.values())

    @cached_property
    def wholes(self) -> dict[str, Strand]:
        """Each session's log from its start. What is below its floor is taken from the tabs, unless data was lost."""
        return {session: self._whole(session, log) for session, log in self.logs.items()}

    def _whole(self, session: str, log: Strand) -> Strand:
        if self.loses or log.since == START:
            return log
        pieces = {piece.first: piece for tab in self.tabs_of[session] for s in tab.strands for piece in s.pieces}
        pieces |= {piece.first: piece for piece in log.pieces}
        return Strand(f"the log of {session}", session, START, None, [pieces[first] for first in sorted(pieces)])

    @property
    def quiet(self) -> float:
        """When the last fault was over; the journal's beginning if there was none."""
        return max((record.t for record in self.journal.of(Quiet)), default=0.0)

    @property
    def done(self) -> Done | None:
        """That all was done, or what was not."""
        found = self.journal.of(Done)
        return found[-1] if found else None

    @cached_property
    def over(self) -> dict[int, float]:
        """When each fault was over, by its number."""
        return {record.number: record.t for record in self.journal.of(Over)}

    @property
    def lost_at(self) -> float:
        """When data may have been lost for the first time."""
        return min((fault.t for fault in self.journal.of(Fault) if fault.loses), default=float("inf"))


def _tabs(name: str, records: Sequence[OfTab]) -> Iterator[Tab]:
    """A tab, once for each session: one that a store lost is followed by another."""
    session_of = {record.link: record.session for record in records if record.session}
    for session in dict.fromkeys(session_of.values()):
        yield Tab(name, session, [record for record in records if session_of.get(record.link) == session])


def _grouped(tabs: list[Tab]) -> dict[str, list[Tab]]:
    of: defaultdict[str, list[Tab]] = defaultdict(list)
    for tab in tabs:
        of[tab.session].append(tab)
    return of


def _log(stored: Stored) -> Strand:
    meta = stored.meta
    floor = Position(int(meta.get("floor") or 0), meta.get("floor_mark") or "")
    pieces = [Piece(0.0, entry.text, entry.frame) for entry in stored.log]
    return Strand(f"the log of {stored.session}", stored.session, floor, None, pieces)


def _since(hello: Frame) -> Position:
    since = hello.get("since") or {"seq": 0, "mark": ""}
    return Position(**since) if since["seq"] else START


def _is_welcome(record: Record) -> bool:
    return isinstance(record, Received) and record.frame["type"] == "welcome"
