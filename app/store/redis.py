"""The contract on Redis or Valkey. With `scripts/`, the only place that speaks to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

from app import logs
from app.errors import StoreError
from app.protocol.frames import Position
from app.settings import Settings
from app.store import keys, replies
from app.store.base import (
    Accepted,
    Attachment,
    Input,
    Listener,
    NewInput,
    Pushed,
    Refused,
    SessionInfo,
    Work,
)
from app.store.batcher import Argument
from app.store.files import Run
from app.store.known import again
from app.store.listeners import Channel
from app.store.owner import PAGE_BYTES, PAGE_ENTRIES, PATIENCE, OwnerCalls, connection_to
from app.store.users import UserSessions
from app.tokens import new_token

log = logs.get(__name__)

REPAIR_AT_ONCE = 256
"""Sessions that are listened to again in one round trip."""

REMEMBERED_KEYS = 1_000
"""How many idempotency keys of a session are remembered; one more, and a tenth of them is forgotten."""

KEY_LIFETIME_MS = 86_400_000
"""How long an idempotency key counts."""

RESEND_LIFETIME_MS = 60_000
"""The same for a push without a key, which the batcher may send again: longer than it goes on trying."""


class RedisStore(OwnerCalls):
    """The store of one worker."""

    def __init__(self, url: str, settings: Settings, worker: str, run: Run = asyncio.to_thread) -> None:
        super().__init__(url, settings, worker, run)
        self._settings = settings
        self._users = UserSessions(self._batcher, settings.max_sessions_per_user, PATIENCE)
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
        self.files.start()

    async def stop(self) -> None:
        """Let go of the store at once."""
        for task in tuple(self._departures):
            task.cancel()
        await self.files.stop()
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

    async def create(self, session: str, user: str, agent: str, start: str, profile: str = "") -> None:
        """Make a session; see `Gateway.create`."""
        if user != ANONYMOUS:
            await self._users.note(user, session)
        lifetime = int(self._settings.empty_session_ttl * 1000)
        mark = new_token()
        args = (user, agent, start, lifetime, self._taker, mark, self._lease_ms, profile)
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

    def accept(self, session: str, client: str, new: NewInput) -> asyncio.Future[Accepted | Refused]:
        """Keep an input; see `Gateway.accept`."""
        mark = new_token()
        settings = self._settings
        known = self.known.get(session)
        args: tuple[Argument, ...] = (
            client, new.n, new.kind, new.body, new.checksum, new.turn, new.target,
            self._taker, mark, self._lease_ms, settings.inbox_size, settings.inbox_bytes,
            known.mark if known is not None else "",
        )  # fmt: skip

        def then(reply: list[Any]) -> Accepted | Refused:
            replies.check(session, reply)
            accepted = replies.accepted(reply)
            if isinstance(accepted, Accepted):
                owner = replies.owner(reply)
                if known is not None and len(owner) > 1 and len(owner[1]) == 1 and self._work is not None:
                    self._work.claimed(again(known, mark, _input(accepted, new), owner[1][0]))
                else:
                    self._accepted(session, mark, owner)
            return accepted

        script, meta = self._scripts["accept"], (keys.meta(session),)
        return self._batcher.run(script, meta, args, within=PATIENCE, then=then)

    async def acked(self, session: str, client: str) -> int:
        """The last number of a client that is kept; see `Gateway.acked`."""
        last: bytes | None = await self._batcher.command("HGET", keys.numbers(session), client, within=PATIENCE)
        return int(last.split()[0]) if last else 0

    async def push(self, session: str, user: str | None, new: NewInput, key: str | None = None) -> Pushed | Refused:
        """Keep an input from outside every connection; see `Gateway.push`."""
        mark = new_token()
        settings = self._settings
        # "key " and "call " keep what a caller chooses apart from what is drawn here
        name, lifetime = (f"call {mark}", RESEND_LIFETIME_MS) if key is None else (f"key {key}", KEY_LIFETIME_MS)
        args: tuple[Argument, ...] = (
            user or "", new.kind, new.body, new.checksum, new.turn, new.target, name, lifetime,
            self._taker, mark, self._lease_ms, settings.inbox_size, settings.inbox_bytes, REMEMBERED_KEYS,
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

    async def repair(self) -> None:
        """After every new subscription: listen again where this worker has sockets, and have all look."""
        while True:
            await self._channel.again.wait()
            self._channel.again.clear()
            if self._work is not None:
                self._work.look()
            sessions = self.listeners.sessions()
            for first in range(0, len(sessions), REPAIR_AT_ONCE):
                part = sessions[first : first + REPAIR_AT_ONCE]
                await asyncio.gather(*(self._return(session) for session in part), return_exceptions=True)

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


def _input(accepted: Accepted, new: NewInput) -> Input:
    assert accepted.index is not None  # noqa: S101  # one that took a lease is in the inbox
    return Input(accepted.index, new.kind, new.body, new.turn, new.target)


ANONYMOUS = "anonymous"
"""The user of everyone who did not sign in. Its sessions are told apart by their unguessable ids alone."""
