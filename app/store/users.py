"""The index of a user's sessions, which bounds how many there are."""

from __future__ import annotations

from app.errors import TooManySessions
from app.store import keys
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
        now = await self._batcher.command("TIME", within=self._patience)
        await self._batcher.command("ZADD", index, int(now[0]), session, within=self._patience)

    async def _count(self, index: str) -> int:
        return int(await self._batcher.command("ZCARD", index, within=self._patience))

    async def _prune(self, index: str) -> None:
        for name in await self._batcher.command("ZRANGE", index, 0, -1, within=self._patience):
            meta = keys.meta(name.decode())
            ended, user = await self._batcher.command("HMGET", meta, "ended", "user", within=self._patience)
            if ended or user is None:
                await self._batcher.command("ZREM", index, name, within=self._patience)
