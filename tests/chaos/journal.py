"""What is written down of a run of the chaos suite: what the tabs saw, what was done to them, what the store has.

One record a line, as JSON, in the order of time. `Journal` reads them back; the history checker looks at nothing else.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Literal, Self, TypeVar

Frame = dict[str, Any]
R = TypeVar("R", bound="Record")


@dataclass(frozen=True, kw_only=True)
class Record:
    """Something that happened, `t` seconds after the journal was begun."""

    kind: ClassVar[str]
    t: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Run(Record):
    """The first record. `loses` says that the schedule may take a tail from the store; only then may a `reset` come.

    `lease` is `PARLEY_LEASE_TTL` in seconds, `program` what ran the workers, `schedule` the kinds of faults to come;
    `alone` says that they come one at a time.
    """

    kind = "run"
    seed: int
    loses: bool
    lease: float
    program: list[str]
    schedule: list[str]
    alone: bool = False


# ---- what a tab says and hears; a tab has one connection at a time


@dataclass(frozen=True, kw_only=True)
class OfTab(Record):
    """`tab` is the client's name, that of its one row of numbers; `link` counts its connections, from 1.

    `session` is empty until its `welcome` has come.
    """

    session: str
    tab: str
    link: int


@dataclass(frozen=True, kw_only=True)
class Connect(OfTab):
    """It opens a connection to a worker, counted from 0; its `hello` is a `Sent` behind this."""

    kind = "connect"
    worker: int


@dataclass(frozen=True, kw_only=True)
class Sent(OfTab):
    """It sends a frame.

    `intent` is empty for what a good client sends: its next input, or one that it keeps and sends again. Otherwise it
    is bad manners: `duplicate` (a number that was acknowledged, with the same content), `conflict` (with another
    content), `skip` (a number too high), `reorder` (the next two inputs the wrong way round; they are sent again the
    right way).
    """

    kind = "sent"
    intent: str = ""
    frame: Frame


@dataclass(frozen=True, kw_only=True)
class Received(OfTab):
    """A frame came, as this very text."""

    kind = "received"
    text: str

    @cached_property
    def frame(self) -> Frame:
        """The text, parsed."""
        parsed: Frame = json.loads(self.text)
        return parsed


@dataclass(frozen=True, kw_only=True)
class Closed(OfTab):
    """The connection is gone.

    `code` is the server's, 1006 if it just went; `ours` says that the tab ended it, `refused` that it never began.
    """

    kind = "closed"
    code: int
    ours: bool = False
    refused: bool = False


@dataclass(frozen=True, kw_only=True)
class Habit(Record):
    """A tab's user does something that is to be counted, such as to answer an ask twice."""

    kind = "habit"
    tab: str
    name: str


# ---- what is done to them


@dataclass(frozen=True)
class Hit:
    """A session that the hit worker owned at that moment, and the turn that ran in it, empty if none did."""

    session: str
    turn: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class Fault(Record):
    """A fault begins; an `Over` of the same `number` follows when what was broken works again.

    `worker` is the one that is hit, -1 if it is not one alone; `seconds` how long it lasts, if that was chosen.
    """

    kind = "fault"
    number: int
    name: str
    worker: int = -1
    seconds: float = 0.0
    loses: bool = False
    hits: list[Hit] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Over(Record):
    """A fault is over: the process is there again, the network is sound."""

    kind = "over"
    number: int


@dataclass(frozen=True, kw_only=True)
class Quiet(Record):
    """The last fault is over and the tabs begin nothing new: from here on all has to end within 15 s."""

    kind = "quiet"


@dataclass(frozen=True, kw_only=True)
class Done(Record):
    """Every tab has seen all of its inputs end, or `waiting` says in words which have not."""

    kind = "done"
    waiting: list[str] = field(default_factory=list)


# ---- what is left


@dataclass(frozen=True, kw_only=True)
class Resources(Record):
    """What a worker holds when no client is there: before the first and after the last.

    `sockets` are its open descriptors that are sockets, `store` its connections to the store, `channels` what it has
    subscribed to, `tasks` its asyncio tasks, `sessions` the leases it holds.
    """

    kind = "resources"
    when: Literal["before", "after"]
    worker: int
    sockets: int
    store: int
    channels: int
    tasks: int
    sessions: int


@dataclass(frozen=True)
class Entry:
    """One append in the log: the positions `first` to `last` under `mark`, and the frame's text."""

    first: int
    last: int
    mark: str
    text: str

    @cached_property
    def frame(self) -> Frame:
        """The text, parsed."""
        parsed: Frame = json.loads(self.text)
        return parsed


@dataclass(frozen=True, kw_only=True)
class Stored(Record):
    """A session as the store has it at the end.

    `inbox` has the kinds of the inputs that are not done, `asks` what the running turn asked (none runs at the end),
    `state` the values of `user_session`, `numbers` a client's last taken number, `listeners` the workers that are
    still told of its events.
    """

    kind = "stored"
    session: str
    meta: dict[str, str]
    log: list[Entry]
    inbox: list[str]
    asks: dict[str, Any]
    state: dict[str, Any]
    numbers: dict[str, int]
    listeners: list[str]


RECORDS: dict[str, type[Record]] = {
    record.kind: record
    for record in (Run, Connect, Sent, Received, Closed, Habit, Fault, Over, Quiet, Done, Resources, Stored)
}


class Writer:
    """Writes a journal; a context. `write` stamps a record with the time."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8")
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._file.close()

    @property
    def now(self) -> float:
        """Seconds since the journal was begun."""
        return time.monotonic() - self._began

    def write(self, record: Record) -> None:
        """Add a record, at the present time."""
        line = {"kind": record.kind, **asdict(record), "t": round(self.now, 6)}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")


@dataclass(frozen=True)
class Journal:
    """All records of a run, in the order of time."""

    records: list[Record]

    @classmethod
    def load(cls, path: Path) -> Journal:
        """Read one back. A last line that was not finished is left out."""
        text = path.read_text(encoding="utf-8")
        return cls([_record(json.loads(line)) for line in text[: text.rfind("\n") + 1].splitlines()])

    def of(self, kind: type[R]) -> list[R]:
        """The records of one type."""
        return [record for record in self.records if isinstance(record, kind)]

    @property
    def run(self) -> Run:
        """What was run."""
        return self.of(Run)[0]

    @cached_property
    def tabs(self) -> dict[str, list[OfTab]]:
        """What each tab said and heard, by its name."""
        tabs: dict[str, list[OfTab]] = {}
        for record in self.of(OfTab):
            tabs.setdefault(record.tab, []).append(record)
        return tabs

    @cached_property
    def session_of(self) -> dict[str, str]:
        """The session of each tab that has one."""
        return {record.tab: record.session for record in self.of(OfTab) if record.session}

    @cached_property
    def stored(self) -> dict[str, Stored]:
        """The sessions as the store has them at the end."""
        return {record.session: record for record in self.of(Stored)}


def _record(line: dict[str, Any]) -> Record:
    kind = RECORDS[line.pop("kind")]
    if kind is Fault:
        line["hits"] = [Hit(**hit) for hit in line["hits"]]
    if kind is Stored:
        line["log"] = [Entry(**entry) for entry in line["log"]]
    return kind(**line)
