"""The contract on Redis or Valkey. With `scripts/`, the only place that speaks to it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Sequence
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from app import logs
from app.errors import NoSuchSession, StoreError
from app.protocol.frames import Position
from app.settings import Settings
from app.store import keys, replies
from app.store.base import (
    Accepted,
    Appended,
    Attachment,
    Batch,
    Claim,
    Input,
    Listener,
    NewInput,
    Page,
    Pushed,
    Refused,
    Scan,
    SessionInfo,
    Snapshot,
    Work,
)
from app.store.batcher import Argument, Batcher, load_scripts
from app.store.listeners import Channel, Listeners
from app.store.users import UserSessions

log = logs.get(__name__)

PAGE_ENTRIES = 128
"""Most entries of the log in one page."""

PAGE_BYTES = 1_048_576
"""Bytes after which a page ends; one entry may be larger than what is left."""

CONTROLS = 32
"""Cancels, answers and ends that may wait in an inbox, beside its other inputs."""

REMEMBERED_NUMBERS = 64
"""How many of a client's last numbers can be told from a conflict."""

REMEMBERED_CLIENTS = 256
"""How many clients of a session are remembered."""

REMEMBERED_KEYS = 1_000
"""How many idempotency keys of a session are remembered; one more, and a tenth of them is forgotten."""

KEY_LIFETIME_MS = 86_400_000
"""How long an idempotency key counts."""

RESEND_LIFETIME_MS = 60_000
"""The same for a push without a key, which the batcher may send again: longer than it goes on trying."""

PATIENCE = 10.0
"""Seconds a client's request waits for a store that does not answer."""

_SCRIPTS = (
    "create", "accept", "push", "claim", "append", "compact", "read", "listen", "postpone", "renew", "scan",
)  # fmt: skip


def connection_to(url: str) -> AbstractConnection:
    """An unconnected connection to the store, that never retries by itself."""
    pool = ConnectionPool.from_url(
        url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,
        maint_notifications_config=MaintNotificationsConfig(enabled=False),
    )
    connection: AbstractConnection = pool.make_connection()  # type: ignore[no-untyped-call]  # redis-py leaves it so
    return connection


class RedisStore:
    """The store of one worker. `worker` is random per boot."""

    def __init__(self, url: str, settings: Settings, worker: str) -> None:
        self.worker = worker
        self._settings = settings
        self._lease_ms = int(settings.lease_ttl * 1000)
        self._lifetime_ms = int(settings.session_ttl * 1000)
        self._scripts = load_scripts(_SCRIPTS)
        self._batcher = Batcher(connection_to(url))
        self._users = UserSessions(self._batcher, settings.max_sessions_per_user, PATIENCE)
        self.listeners = Listeners()
        self._channel = Channel(connection_to(url), keys.channel(worker), self.listeners)
        self._departures: set[asyncio.Task[None]] = set()
        self._work: Work | None = None
        self._taking = False

    # ---- life

    async def start(self) -> None:
        """Connect and hear this worker's channel. Waits until it is heard."""
        self._batcher.start()
        self._channel.start()
        await self._channel.subscribed.wait()

    async def stop(self) -> None:
        """Let go of the store at once."""
        for task in tuple(self._departures):
            task.cancel()
        await self._channel.stop()
        await self._batcher.stop()

    def employ(self, work: Work) -> None:
        """From now on take leases for this runtime and wake it."""
        self._work = self._channel.work = work
        self._taking = True

    def dismiss(self) -> None:
        """Take no more leases; those that are held go on being woken."""
        self._taking = False

    # ---- for the gateway

    async def create(self, session: str, user: str, agent: str, start: str) -> None:
        """Make a session; see `Gateway.create`."""
        if user != ANONYMOUS:
            await self._users.note(user, session)
        lifetime = int(self._settings.empty_session_ttl * 1000)
        mark = new_mark()
        args = (user, agent, start, lifetime, self._taker, mark, self._lease_ms)
        reply = await self._run("create", session, args, within=PATIENCE)
        if len(reply) > 1:
            self._claimed(session, mark, reply[1])
        elif reply[0] == b"exists" and self._work is not None:
            # made by the same call, whose answer was lost: if it took the lease, nobody runs the session yet
            self._work.wake(session)

    async def attach(self, session: str, user: str, client: str, since: Position) -> Attachment:
        """Attach to a session; see `Gateway.attach`."""
        args = (since.seq, since.mark, PAGE_ENTRIES, PAGE_BYTES, self.worker, user, client)
        reply = await self._run("read", session, args, within=PATIENCE)
        return replies.attachment(session, reply)

    async def read(self, session: str, since: Position) -> Page:
        """What the log holds after a position; see `Gateway.read`."""
        args = (since.seq, since.mark, PAGE_ENTRIES, PAGE_BYTES, "", "", "")
        return replies.page(await self._run("read", session, args, within=PATIENCE))

    async def snapshot(self, session: str) -> Snapshot:
        """The log folded up to its floor; see `Gateway.snapshot`."""
        meta = keys.meta(session)
        # the floor is read on both sides of the snapshot: a compaction between them is seen and read over
        while True:
            floor, mark = await self._batcher.command("HMGET", meta, "floor", "floor_mark", within=PATIENCE)
            if floor is None:
                raise NoSuchSession(session)
            data = await self._batcher.command("GET", keys.snapshot(session), within=PATIENCE)
            if await self._batcher.command("HGET", meta, "floor", within=PATIENCE) == floor:
                return Snapshot(Position(int(floor), mark.decode()), data or b"")

    async def accept(self, session: str, client: str, new: NewInput) -> Accepted | Refused:
        """Keep an input; see `Gateway.accept`."""
        mark = new_mark()
        settings = self._settings
        args: tuple[Argument, ...] = (
            client, new.n, new.kind, new.body, new.checksum, new.turn, new.target,
            self._taker, mark, self._lease_ms,
            settings.inbox_size, settings.inbox_bytes, CONTROLS, REMEMBERED_NUMBERS, REMEMBERED_CLIENTS,
        )  # fmt: skip
        reply = await self._run("accept", session, args, within=PATIENCE)
        accepted = replies.accepted(reply)
        if isinstance(accepted, Accepted):
            self._accepted(session, mark, replies.owner(reply))
        return accepted

    async def push(self, session: str, user: str | None, new: NewInput, key: str | None = None) -> Pushed | Refused:
        """Keep an input from outside every connection; see `Gateway.push`."""
        mark = new_mark()
        settings = self._settings
        # "key " and "call " keep what a caller chooses apart from what is drawn here
        name, lifetime = (f"call {mark}", RESEND_LIFETIME_MS) if key is None else (f"key {key}", KEY_LIFETIME_MS)
        args: tuple[Argument, ...] = (
            user or "", new.kind, new.body, new.checksum, new.turn, new.target, name, lifetime,
            self._taker, mark, self._lease_ms, settings.inbox_size, settings.inbox_bytes, CONTROLS, REMEMBERED_KEYS,
        )  # fmt: skip
        reply = await self._run("push", session, args, within=PATIENCE)
        pushed = replies.pushed(reply)
        if isinstance(pushed, Pushed):
            self._accepted(session, mark, reply[3:])
        return pushed

    async def sessions(self, user: str) -> list[SessionInfo]:
        """The living sessions of a user; see `Gateway.sessions`."""
        return await self._users.living(user)

    def _accepted(self, session: str, mark: str, owner: Sequence[Any]) -> None:
        if len(owner) > 1:
            self._claimed(session, mark, owner[1])
        elif owner[0] == self.worker.encode() and self._work is not None:
            self._work.wake(session)

    def listen(self, session: str, listener: Listener) -> None:
        """Tell this listener of the session's events."""
        self.listeners.add(session, listener)

    def unlisten(self, session: str, listener: Listener) -> None:
        """Stop telling it; the worker leaves the session with its last listener."""
        if self.listeners.remove(session, listener):
            task = asyncio.create_task(self._depart(session))
            self._departures.add(task)
            task.add_done_callback(self._departures.discard)

    async def _depart(self, session: str) -> None:
        with contextlib.suppress(StoreError):
            await self._run("listen", session, (self.worker, "0"), within=PATIENCE)
            # a socket may have come back meanwhile, and its attach have run before our departure
            if self.listeners.has(session):
                await self._return(session)

    async def _return(self, session: str) -> None:
        # They look first: to one whose last entries were lost by the store and written anew while nobody told it,
        # the next notice would seem to join up.
        self.listeners.look(session)
        await self._run("listen", session, (self.worker, "1"))
        self.listeners.look(session)

    # ---- for the runtime

    async def claim(self, session: str, dead: str = "", *, due: bool = False) -> Claim | None:
        """Take a session's lease; see `Leases.claim`."""
        mark = new_mark()
        args = (self.worker, mark, self._lease_ms, dead, "due" if due else "")
        reply = await self._batcher.run(self._scripts["claim"], (keys.meta(session),), args)
        if reply[0] != b"ok":
            return None
        return replies.claim(session, mark, reply[1], expired=reply[2] == b"1")

    async def inbox(self, session: str) -> list[Input]:
        """The inputs that are not done; see `Inbox.inbox`."""
        return [
            replies.input_of(id_.split(b"-")[0], fields[1], fields[3], fields[5], fields[7])
            for id_, fields in await self._batcher.command("XRANGE", keys.inputs(session), "-", "+")
        ]

    async def append(self, claim: Claim, expected: int, batch: Batch) -> Appended:
        """Add to the log; see `Inbox.append`."""
        reply = await self._run("append", claim.session, self._append_args(claim, expected, batch))
        for entry in batch.entries:
            self.listeners.deliver(claim.session, entry)
        if batch.end:
            self.listeners.ended(claim.session)
        return Appended(reply[1] == b"idle", int(reply[2]))

    def _append_args(self, claim: Claim, expected: int, batch: Batch) -> list[Argument]:
        release = "end" if batch.end else "handover" if batch.handover else "idle" if batch.release else ""
        run = "finish" if batch.finished else "start" if batch.started else ""
        turn, attempt = batch.started or ("", 0)
        args: list[Argument] = [
            claim.mark, expected, batch.id, self.worker, self._lifetime_ms, self._lease_ms, release, run, turn, attempt,
            len(batch.entries),
        ]  # fmt: skip
        for entry in batch.entries:
            args += (entry.first, entry.last, entry.frame)
        args.append(len(batch.done))
        args += batch.done
        args.append(len(batch.state))
        for name, value in batch.state.items():
            args += (name, b"-" if value is None else b"+" + value)
        for table in (batch.asks, batch.steps):
            args.append(len(table))
            for name, kept in table.items():
                args += (name, kept)
        return args

    async def compact(self, claim: Claim, floor: Position, snapshot: bytes) -> int:
        """Trim the log; see `Inbox.compact`. Answers with the bytes that are left."""
        reply = await self._run("compact", claim.session, (claim.mark, floor.seq, floor.mark, snapshot))
        return int(reply[1])

    async def postpone(self, claim: Claim, seconds: float) -> None:
        """Give a lease back and look at the session again in `seconds`. Raises: Fenced."""
        args = (claim.mark, int(seconds * 1000), self._lifetime_ms)
        await self._run("postpone", claim.session, args)

    async def renew(self, partitions: Sequence[int]) -> None:
        """Move this worker's deadlines and send the heartbeat its own channel waits for."""
        renew = self._scripts["renew"]
        args = (self.worker, self._lease_ms)
        await asyncio.gather(
            *(self._batcher.run(renew, (keys.workers(p),), args) for p in partitions),
            self._batcher.command("PUBLISH", keys.channel(self.worker), "h"),
        )

    async def scan(self, partition: int, dead: Sequence[str]) -> Scan:
        """Look for sessions to take up in a partition."""
        args: tuple[Argument, ...] = (self.worker, self._lease_ms, 64, *dead)
        found, workers = await self._batcher.run(self._scripts["scan"], (keys.due(partition),), args)
        pairs = zip(workers[::2], workers[1::2], strict=True)
        return Scan([s.decode() for s in found], {w.decode(): int(left) for w, left in pairs})

    async def unheard(self, workers: Sequence[str]) -> set[str]:
        """Those of these workers whose channel nobody hears."""
        if not workers:
            return set()
        reply = await self._batcher.command("PUBSUB", "NUMSUB", *(keys.channel(w) for w in workers))
        return {worker for worker, count in zip(workers, reply[1::2], strict=True) if count == 0}

    async def repair(self) -> None:
        """After every new subscription: listen again where this worker has sockets, and have them look."""
        while True:
            await self._channel.again.wait()
            self._channel.again.clear()
            for session in self.listeners.sessions():
                with contextlib.suppress(StoreError):
                    await self._return(session)

    # ---- health

    async def ready(self) -> str:
        """What keeps the store from serving, in words; empty if nothing does."""
        info = (await self._batcher.command("INFO", "memory", within=1.0)).decode()
        policy = info.partition("maxmemory_policy:")[2].split()[0]
        if policy != "noeviction":
            return f"the store's maxmemory-policy is {policy}: set it to noeviction"
        return ""

    # ---- inside

    @property
    def _taker(self) -> str:
        return self.worker if self._taking else ""

    def _claimed(self, session: str, mark: str, reply: Sequence[Any]) -> None:
        if self._work is not None:
            self._work.claimed(replies.claim(session, mark, reply))

    async def _run(self, name: str, session: str, args: Sequence[Argument], within: float | None = None) -> list[Any]:
        reply: list[Any] = await self._batcher.run(self._scripts[name], (keys.meta(session),), args, within=within)
        refusal = replies.REFUSALS.get(reply[0])
        if refusal is not None:
            raise refusal(session)
        return reply


ANONYMOUS = "anonymous"
"""The user of everyone who did not sign in. Its sessions are told apart by their unguessable ids alone."""


def new_mark() -> str:
    """A lease token: 96 random bits."""
    return secrets.token_urlsafe(12)
