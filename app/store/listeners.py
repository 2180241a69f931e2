"""This worker's local listeners, and the channel through which it hears of the others' doings."""

from __future__ import annotations

import asyncio
import contextlib

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from app import logs
from app.store.base import Listener, LogEntry, Work
from app.store.batcher import BACKOFF

log = logs.get(__name__)

SILENCE = 2.0
"""Seconds without this worker's own heartbeat after which its channel is taken for dead."""


class Listeners:
    """Who on this worker follows which session."""

    def __init__(self) -> None:
        self._by_session: dict[str, set[Listener]] = {}

    def add(self, session: str, listener: Listener) -> None:
        """Tell this listener of the session's entries."""
        self._by_session.setdefault(session, set()).add(listener)

    def remove(self, session: str, listener: Listener) -> bool:
        """Stop telling it; answers whether it was the session's last one here."""
        group = self._by_session.get(session)
        if group is None or listener not in group:
            return False
        group.discard(listener)
        if not group:
            del self._by_session[session]
        return not group

    def sessions(self) -> list[str]:
        """The sessions that are followed here."""
        return list(self._by_session)

    def has(self, session: str) -> bool:
        """Whether anybody here follows the session."""
        return session in self._by_session

    def deliver(self, session: str, entry: LogEntry) -> None:
        """Hand an entry to all who follow the session."""
        for listener in tuple(self._by_session.get(session, ())):
            listener.deliver(entry)

    def look(self, session: str) -> None:
        """Have all who follow the session read the log."""
        for listener in tuple(self._by_session.get(session, ())):
            listener.look()

    def ended(self, session: str) -> None:
        """Tell all who follow the session that it has ended."""
        for listener in tuple(self._by_session.get(session, ())):
            listener.ended()


class Channel:
    """Hears this worker's channel and passes on what it says; `repair` is run after every subscription."""

    def __init__(self, connection: AbstractConnection, name: str, listeners: Listeners) -> None:
        self._connection = connection
        self._name = name
        self._listeners = listeners
        self._task: asyncio.Task[None] | None = None
        self.work: Work | None = None
        self.subscribed = asyncio.Event()
        self.again = asyncio.Event()

    def start(self) -> None:
        """Begin to hear."""
        self._task = asyncio.create_task(self._run(), name="store channel")

    async def stop(self) -> None:
        """Stop hearing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.disconnect(nowait=True)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                await self._subscribe()
                failures = 0
                self.subscribed.set()
                self.again.set()
                await self._hear()
            except (RedisError, OSError) as error:
                self.subscribed.clear()
                if failures == 0:
                    log.warning("channel_lost", error=str(error))
                failures += 1
                with contextlib.suppress(RedisError, OSError):
                    await self._connection.disconnect(nowait=True)
                await asyncio.sleep(BACKOFF[min(failures, len(BACKOFF)) - 1])

    async def _subscribe(self) -> None:
        async with asyncio.timeout(SILENCE):
            await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it so
            await self._connection.send_command("SUBSCRIBE", self._name)
            await self._connection.read_response()

    async def _hear(self) -> None:
        while True:
            async with asyncio.timeout(SILENCE):
                message = await self._connection.read_response()
            if isinstance(message, list) and message[0] == b"message":
                self._take(message[2])

    def _take(self, message: bytes) -> None:
        kind = message[:1]
        if kind == b"e":
            _, session, first, last, mark, frame = message.split(b" ", 5)
            entry = LogEntry(int(first), int(last), mark.decode(), frame)
            self._listeners.deliver(session.decode(), entry)
        elif kind == b"w" and self.work is not None:
            self.work.wake(message[2:].decode())
        elif kind == b"x":
            self._listeners.ended(message[2:].decode())
