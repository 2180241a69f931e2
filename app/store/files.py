"""The files of sessions: taken in as they come, within their bounds, given out again, and deleted with the session."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from app import logs
from app.errors import FileRefused, NoSuchFile, NoSuchSession, ParleyError, SessionEnded, StoreUnavailable
from app.settings import Settings
from app.store import keys
from app.store.blobs import Blobs, Part
from app.store.file_index import FileIndex, FileInfo
from app.store.file_names import clean_name
from app.store.kinds import is_allowed

log = logs.get(__name__)

CHUNK = 524_288
"""Bytes that are written, or read, in one go: all of a file that is ever in memory."""

SWEEP_EVERY = 60.0
"""Seconds between looks for files that a worker left behind when it died."""

SWEEP_PAUSE = 0.5
"""Seconds between two deletions, so that many ends share one look."""

Run = Callable[..., Awaitable[Any]]
"""Calls a function with its arguments in a thread, and answers with what it returns."""

_ID = re.compile(r"[0-9a-f]{64}")


class FileStore:
    """The files of every session, and of one worker the task that deletes those of ended sessions.

    The user of a call is the one whose session it must be; None is the agent itself, whose files are not checked
    for their type. What a file store that does not work raises is StoreUnavailable; the log says why.
    """

    def __init__(self, settings: Settings, index: FileIndex, run: Run) -> None:
        """Raises: ConfigError."""
        self._settings = settings
        self._index = index
        self._run = run
        self._blobs = Blobs(settings.files_url or str((settings.data_dir / "files").absolute()))
        self._wanted = asyncio.Event()
        self._ended: set[int] = set()
        self._sweeper: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Delete what is to be deleted from now on."""
        self._sweeper = asyncio.create_task(self._sweep(), name="files of ended sessions")

    async def stop(self) -> None:
        """Delete no more; another worker, or the next one, does."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)

    async def add(
        self,
        session: str,
        user: str | None,
        chunks: AsyncIterator[bytes],
        *,
        name: str,
        size: int | None = None,
        mime: str | None = None,
    ) -> FileInfo:
        """Keep a file, as its bytes come. Under the same bytes a session has one file, with the newest name.

        `size` is what it is said to have, so that it can be refused before its bytes; `mime` its type if that is
        known. Raises: FileRefused, NoSuchSession, SessionEnded, NotYours, StoreFull, StoreUnavailable,
        ExecutorBusy; and what `chunks` raises.
        """
        self._check_size(size or 0)
        await self._index.admit(session, user, size or 1)
        name = clean_name(name)
        with _working():
            part: Part = await self._run(self._blobs.begin, session)
        try:
            await self._receive(part, chunks)
            info = await self._place(session, part, name, mime, is_checked=user is not None)
        except BaseException:
            await self._quietly(part.drop)
            raise
        try:
            await self._index.add(info, user)
        except (FileRefused, NoSuchSession, SessionEnded):
            # only now is it sure that no file of the session has these bytes
            await self._quietly(self._blobs.remove, session, info.id)
            raise
        return info

    async def find(self, session: str, user: str | None, file: str) -> FileInfo:
        """A file of a session. Raises: NoSuchFile, NoSuchSession, SessionEnded, NotYours, StoreUnavailable."""
        if not _ID.fullmatch(file):
            raise NoSuchFile(file)
        return await self._index.find(session, user, file)

    async def read(self, info: FileInfo) -> AsyncIterator[bytes]:
        """Its bytes, in pieces. Raises: NoSuchFile if it was deleted, StoreUnavailable, ExecutorBusy."""
        for start in range(0, info.size, CHUNK):
            with _working():
                end = min(start + CHUNK, info.size)
                data: bytes = await self._run(self._blobs.read, info.session, info.id, start, end)
            yield data

    @contextlib.asynccontextmanager
    async def local(self, info: FileInfo) -> AsyncIterator[Path]:
        """A path to read it at, inside the block. Raises: NoSuchFile, StoreUnavailable, ExecutorBusy."""
        if self._blobs.is_local:
            yield self._blobs.path(info.session, info.id)
            return
        folder: tempfile.TemporaryDirectory[str] = await self._run(tempfile.TemporaryDirectory)
        try:
            path = Path(folder.name) / info.name
            with _working():
                await self._run(self._blobs.fetch, info.session, info.id, path)
            yield path
        finally:
            await self._run(folder.cleanup)

    def ended(self, session: str) -> None:
        """Have the files of an ended session deleted soon."""
        self._ended.add(keys.partition(session))
        self._wanted.set()

    # ---- a file that comes

    async def _receive(self, part: Part, chunks: AsyncIterator[bytes]) -> None:
        waiting = bytearray()
        async for data in chunks:
            waiting += data
            self._check_size(part.size + len(waiting))
            if len(waiting) >= CHUNK:
                await self._write(part, waiting)
                waiting = bytearray()
        await self._write(part, waiting)

    async def _write(self, part: Part, data: bytearray) -> None:
        with _working():
            await self._run(part.write, bytes(data))

    async def _place(self, session: str, part: Part, name: str, mime: str | None, *, is_checked: bool) -> FileInfo:
        with _working():
            file: str = await self._run(part.close)
        kind = mime or part.look.kind(name)
        allowed = self._settings.allowed_file_types
        if is_checked and not is_allowed(kind, allowed):
            raise FileRefused(
                "type_refused",
                f"{name}: its content is {kind}, and allowed are {', '.join(allowed)} (PARLEY_ALLOWED_FILE_TYPES);"
                " a text must be in UTF-8",
            )
        with _working():
            await self._run(part.place, file)
        return FileInfo(session, file, name, kind, part.size)

    def _check_size(self, size: int) -> None:
        most = self._settings.max_file_bytes
        if size > most:
            raise FileRefused("too_large", f"the file has more than {most} bytes (PARLEY_MAX_FILE_BYTES)")

    async def _quietly(self, delete: Callable[..., None], *args: str) -> None:
        # what stays is deleted with its session
        with contextlib.suppress(OSError, ParleyError):
            await self._run(delete, *args)

    # ---- the files of ended sessions

    async def _sweep(self) -> None:
        partitions = set(range(keys.PARTITIONS))
        while True:
            try:
                await self._delete(partitions)
            except (OSError, ParleyError) as error:
                log.warning("files_not_deleted", reason=repr(error))
            await asyncio.sleep(SWEEP_PAUSE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_EVERY):
                    await self._wanted.wait()
            partitions = self._ended or set(range(keys.PARTITIONS))
            self._ended = set()
            self._wanted.clear()

    async def _delete(self, partitions: set[int]) -> None:
        while sessions := await self._index.gone(partitions):
            for session in sessions:
                await self._run(self._blobs.drop, session)
                await self._index.forget(session)


@contextlib.contextmanager
def _working() -> Iterator[None]:
    """Say of a file store that fails what the rest of Parley says of a store."""
    try:
        yield
    except FileNotFoundError as error:
        raise NoSuchFile("the file is not there any more") from error
    except OSError as error:
        log.exception("files_unavailable")
        raise StoreUnavailable("the file store does not work at the moment") from error
