"""What is known of a session's files, and which sessions' files are to be deleted, in Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

import orjson

from app.errors import FileRefused, NoSuchFile, NoSuchSession, NotYours, SessionEnded
from app.settings import Settings
from app.store import keys
from app.store.batcher import Batcher

SWEEP = 256
"""Sessions of a partition whose files are deleted in one go."""

Call = Callable[..., Awaitable[list[Any]]]
"""Runs a script on a session: its name, the session, its arguments, and `within`."""


class FileInfo(NamedTuple):
    """A file of a session. `id` is the SHA-256 of its bytes, `mime` their type, `size` their number."""

    session: str
    id: str
    name: str
    mime: str
    size: int

    @property
    def url(self) -> str:
        """Where it is served, on this server."""
        return f"/sessions/{self.session}/files/{self.id}"


class FileIndex:
    """The files of every session. A session's bounds are kept by the script that adds."""

    def __init__(self, call: Call, batcher: Batcher, settings: Settings, patience: float) -> None:
        self._call = call
        self._batcher = batcher
        self._most = (settings.max_files_per_session, settings.max_files_bytes_per_session)
        self._patience = patience

    async def admit(self, session: str, user: str | None, size: int) -> None:
        """See that a session of this user, or of anybody, has room for a file of `size` bytes.

        From now on its files are deleted when it ends. Raises: as `add`.
        """
        await self._file(session, user, "", b"", size)

    async def add(self, info: FileInfo, user: str | None) -> None:
        """Keep what is known of a file. One with the same bytes is the same file, and has its newest name.

        Raises: FileRefused, NoSuchSession, SessionEnded, NotYours, StoreFull, StoreUnavailable.
        """
        record = orjson.dumps([info.name, info.mime, info.size])
        await self._file(info.session, user, info.id, record, info.size)

    async def find(self, session: str, user: str | None, file: str) -> FileInfo:
        """What is known of a file. Raises: NoSuchFile, NoSuchSession, SessionEnded, NotYours, StoreUnavailable."""
        (owner, ended), record = await asyncio.gather(
            self._batcher.command("HMGET", keys.meta(session), "user", "ended", within=self._patience),
            self._batcher.command("HGET", keys.files(session), file, within=self._patience),
        )
        if owner is None:
            raise NoSuchSession(session)
        if ended is not None:
            raise SessionEnded(session)
        if user is not None and owner.decode() != user:
            raise NotYours(session)
        if record is None or file == keys.FILE_BYTES:
            raise NoSuchFile(file)
        return FileInfo(session, file, *orjson.loads(record))

    async def gone(self, partitions: Iterable[int]) -> list[str]:
        """Ended sessions whose files are not yet deleted."""
        found = await asyncio.gather(
            *(self._batcher.command("SRANDMEMBER", keys.gone(p), SWEEP, within=self._patience) for p in partitions)
        )
        return [session.decode() for sessions in found for session in sessions]

    async def forget(self, session: str) -> None:
        """Take note that an ended session's files are deleted."""
        gone = keys.gone(keys.partition(session))
        await self._batcher.command("SREM", gone, session, within=self._patience)

    async def _file(self, session: str, user: str | None, file: str, record: bytes, size: int) -> None:
        args = (user or "", file, record, size, *self._most)
        reply = await self._call("file", session, args, within=self._patience)
        if reply[0] == b"full":
            raise self._refusal(reply[1])

    def _refusal(self, limit: bytes) -> FileRefused:
        files, size = self._most
        if limit == b"files":
            return FileRefused("too_many_files", f"a session has at most {files} files (PARLEY_MAX_FILES_PER_SESSION)")
        return FileRefused(
            "too_many_files", f"the files of a session have at most {size} bytes (PARLEY_MAX_FILES_BYTES_PER_SESSION)"
        )
