"""The index of a user's sessions, which lists them and bounds how many there are."""

from __future__ import annotations

import asyncio

from app.errors import TooManySessions
from app.store import keys
from app.store.base import SessionInfo
from app.store.batcher import Batcher


class UserSessions:
    """A user's sessions. Written before the session is, so that none is missing; pruned when it is full."""

    def __init__(self, batcher: Batcher, most: int, patience: float) -> None:
        self._batcher = batcher
        self._most = most
        self._patience = patience

    async def note(self, user: str, session: str) -> None:
        """Add a session. Raises: TooManySessions, StoreUnavailable."""
        index = keys.user_sessions(user)
        if await self._count(index) >= self._most:
            await self._prune(index)
            if await self._count(index) >= self._most:
                raise TooManySessions(f"this user has {self._most} sessions, as many as are allowed: end one first")
        seconds, micros = await self._batcher.command("TIME", within=self._patience)
        now = int(seconds) * 1000 + int(micros) // 1000
        await self._batcher.command("ZADD", index, now, session, within=self._patience)

    async def living(self, user: str) -> list[SessionInfo]:
        """Those that have not ended, newest first. Raises: StoreUnavailable."""
        index = keys.user_sessions(user)
        flat = await self._batcher.command("ZREVRANGE", index, 0, -1, "WITHSCORES", within=self._patience)
        listed = [(name.decode(), int(score)) for name, score in zip(flat[::2], flat[1::2], strict=True)]
        found = await asyncio.gather(*(self._look(session) for session, _ in listed))
        return [
            SessionInfo(session, agent.decode(), created)
            for (session, created), (agent, ended) in zip(listed, found, strict=True)
            if agent is not None and ended is None
        ]

    async def _look(self, session: str) -> tuple[bytes | None, bytes | None]:
        """The agent of a session, and whether it ended."""
        command = ("HMGET", keys.meta(session), "agent", "ended")
        agent, ended = await self._batcher.command(*command, within=self._patience)
        return agent, ended

    async def _count(self, index: str) -> int:
        return int(await self._batcher.command("ZCARD", index, within=self._patience))

    async def _prune(self, index: str) -> None:
        for name in await self._batcher.command("ZRANGE", index, 0, -1, within=self._patience):
            agent, ended = await self._look(name.decode())
            if ended or agent is None:
                await self._batcher.command("ZREM", index, name, within=self._patience)
