"""What a session's owner and its readers ask of the store, and the connection all calls of a worker share."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.maint_notifications import MaintNotificationsConfig

from app.errors import NoSuchSession
from app.protocol.frames import Position
from app.settings import Settings
from app.store import keys, replies
from app.store.base import Appended, Batch, Claim, Input, Page, Runs, Scan, Snapshot
from app.store.batcher import Argument, Batcher
from app.store.file_index import FileIndex
from app.store.files import FileStore, Run
from app.store.known import Known
from app.store.link import load_scripts
from app.store.listeners import Listeners
from app.tokens import new_token

PAGE_ENTRIES = 128
"""Most entries of the log in one page."""

PAGE_BYTES = 262_144
"""Bytes after which a page ends; one entry may be larger than what is left. Each slow reader holds a page."""

PATIENCE = 10.0
"""Seconds a client's request waits for a store that does not answer."""

_SCRIPTS = (
    "create", "accept", "push", "claim", "append", "compact", "read", "listen", "postpone", "renew", "scan", "file",
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


def _nothing(_: str) -> bool:
    """Nothing is run yet."""
    return False


class OwnerCalls:
    """The calls of a worker that holds leases. `worker` is random per boot, `run` calls what blocks in a thread."""

    def __init__(self, url: str, settings: Settings, worker: str, run: Run = asyncio.to_thread) -> None:
        self.worker = worker
        self.listeners = Listeners()
        self.known = Known()
        self._lease_ms = int(settings.lease_ttl * 1000)
        self._lifetime_ms = int(settings.session_ttl * 1000)
        self._scripts = load_scripts(_SCRIPTS)
        self._batcher = Batcher(connection_to(url))
        self.files = FileStore(settings, FileIndex(self._run, self._batcher, settings, PATIENCE), run)

    async def claim(self, session: str, dead: str = "", *, due: bool = False, runs: Runs = _nothing) -> Claim | None:
        """Take a session's lease; see `Leases.claim`."""
        mark, idle = new_token(), b""
        while True:
            args = (self.worker, mark, self._lease_ms, dead, "due" if due else "", idle)
            reply = await self._batcher.run(self._scripts["claim"], (keys.meta(session),), args)
            if reply[0] != b"held":
                break
            # calls are answered in order: whoever took this lease for us has heard of it by now
            if runs(session):
                return None
            idle = reply[1]
        return replies.claim(session, mark, reply[1], expired=reply[2] == b"1") if reply[0] == b"ok" else None

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
            self.files.ended(claim.session)
        done = Appended(reply[1] == b"idle", int(reply[2]))
        self._note(claim, expected, batch, done, int(reply[3]))
        return done

    def _note(self, claim: Claim, expected: int, batch: Batch, done: Appended, floor: int) -> None:
        """Remember the session as the next claim would find it, if that can be told from what was said here."""
        for name, value in batch.state.items():
            if value is None:
                claim.state.pop(name, None)
            else:
                claim.state[name] = value
        if done.released and not (batch.end or batch.handover) and floor == claim.floor.seq:
            self.known.left(claim, expected, batch, done.log_bytes)
        elif done.released:
            self.known.forget(claim.session)

    def _append_args(self, claim: Claim, expected: int, batch: Batch) -> list[Argument]:
        idle = "left" if batch.unattended else "idle"
        release = "end" if batch.end else "handover" if batch.handover else idle if batch.release else ""
        run = "finish" if batch.finished else "start" if batch.started else ""
        turn, attempt = batch.started or ("", 0)
        args: list[Argument] = [
            claim.mark, expected, batch.id, self.worker, self._lifetime_ms, release, run, turn, attempt,
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

    async def standing(self, claim: Claim) -> int | None:
        """The last position of a session's log if its lease is still this one; see `Leases.standing`."""
        lease, seq = await self._batcher.command("HMGET", keys.meta(claim.session), "lease", "seq")
        return int(seq) if lease == claim.mark.encode() else None

    async def _run(self, name: str, session: str, args: Sequence[Argument], within: float | None = None) -> list[Any]:
        reply: list[Any] = await self._batcher.run(self._scripts[name], (keys.meta(session),), args, within=within)
        replies.check(session, reply)
        return reply
