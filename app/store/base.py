"""The contract between the store and those who use it: the gateway on one side, the runtime on the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Protocol

from app.protocol.frames import Position
from app.store.files import FileStore


class LogEntry(NamedTuple):
    """One `events` frame of a log: positions `first` to `last` under one `mark`, as the bytes that are sent."""

    first: int
    last: int
    mark: str
    frame: bytes


Join = Literal["ok", "ahead", "trimmed", "diverged"]
"""Whether a log joins up with a position; anything but `ok` calls for a `reset`."""


class Page(NamedTuple):
    """What a log holds after a position. `entries` is not the whole of it as long as its last is below `head`."""

    join: Join
    head: Position
    entries: list[LogEntry]


class Attachment(NamedTuple):
    """A client attached to a session. `acked` is its counter's last kept number; `known` whether it has one.

    `profile` is what was chosen when the session was made, empty if nothing was.
    """

    session: str
    agent: str
    user: str
    acked: int
    known: bool
    page: Page
    profile: str = ""


class Snapshot(NamedTuple):
    """A folded log up to `floor`; below it nothing is kept. `data` is what `Fold.dump` made, empty at the start."""

    floor: Position
    data: bytes


class NewInput(NamedTuple):
    """An input as the gateway hands it over. `turn` is the id its turn will have, empty if it is none.

    `target` is the turn a cancel is meant for, empty for the oldest one, or the message a push becomes.
    """

    n: int
    kind: str
    body: bytes
    checksum: str
    turn: str
    target: str = ""


@dataclass(slots=True)
class Input:
    """An input of the inbox. `turn` is empty for what is no turn.

    `target` is the turn a cancel hits, or the message a push becomes.
    """

    index: int
    kind: str
    body: bytes
    turn: str
    target: str


@dataclass(slots=True)
class Accepted:
    """An input that is kept. `index` and `turn` are None where it has none, `queued` the inputs before it."""

    index: int | None
    turn: str | None
    queued: int
    duplicate: bool


@dataclass(slots=True)
class Pushed:
    """An input from outside that is kept, now or earlier under the same key. `id` is its turn or its message."""

    index: int
    id: str
    duplicate: bool


class SessionInfo(NamedTuple):
    """A living session; `created` is in milliseconds of the store's clock."""

    id: str
    agent: str
    created: int


class Refused(NamedTuple):
    """An input that is not kept. `expected` is the counter that would have been right, for `gap`."""

    reason: Literal["conflict", "gap", "busy"]
    expected: int = 0
    limit: str = ""


class Claim(NamedTuple):
    """A lease and all that its owner needs to go on.

    `mark` is the lease token and stamps every event written under it. `run`, if not empty, is the turn that
    was started and not ended, `attempt` its last attempt, `deaths` how many owners died in it. `expired` says
    that nobody has used the session for its lifetime. `previous` is the mark of the lease before this one,
    empty at first.
    `left_by` is the worker that did not give the lease before this one up: it died or lost it; empty if it did.
    `state` is what the store has of the session's values; it follows the owner's appends.
    `asks` and `steps` are what the running turn asked and which durable steps it finished, by key. `time` is
    the store's, in milliseconds. `profile` is what the user chose when the session was made, empty if nothing.
    """

    session: str
    user: str
    agent: str
    mark: str
    previous: str
    head: Position
    floor: Position
    log_bytes: int
    run: str
    attempt: int
    deaths: int
    inputs: list[Input]
    state: dict[str, bytes]
    asks: Mapping[str, bytes]
    steps: Mapping[str, bytes]
    time: int
    left_by: str
    profile: str = ""
    expired: bool = False


@dataclass(slots=True)
class Batch:
    """One append: what it adds to the log and what changes with it, all or nothing.

    `id` names it, so that a repeated call is the same append; the emitter sets it. `started` is (turn, attempt)
    if it carries a `RUN_STARTED`, `finished` whether it ends that turn. `done` are the inputs that leave
    the inbox. `release` gives the lease up if the inbox is then empty, with `unattended` only if nobody is attached
    either; `handover` gives it up even if the inbox is not empty, `end` ends the session.
    """

    id: str = ""
    entries: list[LogEntry] = field(default_factory=list)
    started: tuple[str, int] | None = None
    finished: bool = False
    done: list[int] = field(default_factory=list)
    state: dict[str, bytes | None] = field(default_factory=dict)
    asks: dict[str, bytes] = field(default_factory=dict)
    steps: dict[str, bytes] = field(default_factory=dict)
    release: bool = False
    unattended: bool = False
    handover: bool = False
    end: bool = False


class Appended(NamedTuple):
    """What an append came to: whether the lease is given up, and how large the log is now."""

    released: bool
    log_bytes: int


class Listener(Protocol):
    """Someone on this worker who follows a session's log. Its methods are called on the loop and never block."""

    def deliver(self, entry: LogEntry) -> None:
        """Take an entry that was just added; entries may repeat or be missing."""

    def look(self) -> None:
        """Read the log again: notices may have been lost."""

    def ended(self) -> None:
        """Take note that the session has ended."""


class Work(Protocol):
    """The runtime, as the store sees it. Its methods are called on the loop and never block."""

    def claimed(self, claim: Claim) -> None:
        """Take a lease that `create` or `accept` took for this worker."""

    def wake(self, session: str) -> None:
        """Look at the inbox of a session of this worker."""

    def look(self) -> None:
        """Look at all sessions of this worker: wakes may have been lost, and leases while it was cut off."""


class Gateway(Protocol):
    """What connections need of the store."""

    @property
    def files(self) -> FileStore:
        """The files of sessions."""

    async def create(self, session: str, user: str, agent: str, start: str, profile: str = "") -> None:
        """Make a session. `start` is the id of its first turn (`on_chat_start`), empty if it has none.

        `profile` is what the user has chosen of what the agent offers, empty if nothing.

        Raises: TooManySessions, StoreFull, StoreUnavailable.
        """

    async def attach(self, session: str, user: str, client: str, since: Position) -> Attachment:
        """Attach to a session of this user and listen to it from now on.

        Raises: NoSuchSession, SessionEnded, NotYours, StoreUnavailable.
        """

    async def read(self, session: str, since: Position) -> Page:
        """What the log holds after `since`, at most a page. Raises: NoSuchSession, StoreUnavailable."""

    async def snapshot(self, session: str) -> Snapshot:
        """The log folded up to its floor. Raises: NoSuchSession, StoreUnavailable."""

    def accept(self, session: str, client: str, new: NewInput) -> asyncio.Future[Accepted | Refused]:
        """Keep an input and see that somebody works on it.

        Not to be cancelled. To await it raises: NoSuchSession, SessionEnded, StoreFull, StoreUnavailable.
        """

    async def acked(self, session: str, client: str) -> int:
        """The last number of a client that is kept, 0 if none. Raises: StoreUnavailable."""

    async def push(self, session: str, user: str | None, new: NewInput, key: str | None = None) -> Pushed | Refused:
        """Keep an input from outside every connection, and see that somebody works on it.

        The session must be this user's, unless that is None. Under the same idempotency key an input is kept once
        in 24 h; with another body the second one is a conflict. Its `n` does not count.
        Raises: NoSuchSession, SessionEnded, NotYours, StoreFull, StoreUnavailable.
        """

    async def sessions(self, user: str) -> list[SessionInfo]:
        """The living sessions of a user who signed in, newest first. Raises: StoreUnavailable."""

    def listen(self, session: str, listener: Listener) -> None:
        """Tell this listener of the session's events, from before `attach` on."""

    def unlisten(self, session: str, listener: Listener) -> None:
        """Stop telling it."""


class Inbox(Protocol):
    """What a session's owner needs of the store."""

    async def inbox(self, session: str) -> list[Input]:
        """The inputs that are not done, oldest first."""

    async def append(self, claim: Claim, expected: int, batch: Batch) -> Appended:
        """Add to the log and apply the rest of the batch. Raises: Fenced, Regressed."""

    async def compact(self, claim: Claim, floor: Position, snapshot: bytes) -> int:
        """Keep this snapshot and trim the log up to `floor`; the bytes that are left. Raises: Fenced, Regressed."""

    async def postpone(self, claim: Claim, seconds: float) -> None:
        """Give the lease back and have the session looked at in `seconds`. Raises: Fenced."""

    async def read(self, session: str, since: Position) -> Page:
        """What the log holds after `since`, at most a page."""

    async def snapshot(self, session: str) -> Snapshot:
        """The log folded up to its floor."""


class Scan(NamedTuple):
    """A look at one partition: sessions to take up, and the other workers' remaining lease in milliseconds."""

    sessions: Sequence[str]
    workers: Mapping[str, int]


Runs = Callable[[str], bool]
"""Whether a session is run here."""


class Leases(Inbox, Protocol):
    """What a worker needs of the store to hold leases."""

    async def push(self, session: str, user: str | None, new: NewInput, key: str | None = None) -> Pushed | Refused:
        """Keep an input from outside every connection; see `Gateway.push`."""

    def employ(self, work: Work) -> None:
        """From now on take leases for this runtime and wake it."""

    def dismiss(self) -> None:
        """Take no more leases."""

    async def claim(self, session: str, dead: str = "", *, due: bool = False, runs: Runs = ...) -> Claim | None:
        """Take a session's lease; None if it is not to be had.

        `dead` is a worker known to be dead; `due` asks for the session only if its time has come. If the lease is this
        worker's own, `runs` is asked whether somebody here goes by it; if so, it is not to be had.
        """

    async def renew(self, partitions: Sequence[int]) -> None:
        """Move this worker's deadlines, and send the heartbeat its own channel waits for."""

    async def scan(self, partition: int, dead: Sequence[str]) -> Scan:
        """Look for sessions to take up in a partition."""

    async def unheard(self, workers: Sequence[str]) -> set[str]:
        """Those of these workers whose channel nobody hears."""

    async def standing(self, claim: Claim) -> int | None:
        """The last position of a session's log if its lease is still this one, else None."""

    async def repair(self) -> None:
        """Have this worker's listeners look again after every new subscription. Never returns."""
