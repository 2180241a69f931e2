"""Files in an agent's hands: those that came with a message, and those that it shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.errors import OutsideTurn
from app.executor import make_async
from app.runtime import context
from app.store.file_index import FileInfo
from app.store.files import CHUNK, FileStore

if TYPE_CHECKING:  # a message has elements, and those keep files here
    from app.chat.message import Message

PROVIDER = "parley"
"""Whose a file is that a message part names, if it says so at all."""


@dataclass(frozen=True, slots=True)
class FileRef:
    """A file of the current session.

    `id` is the SHA-256 of its bytes in hexadecimal, `name` has at most 255 characters and no path, `mime` is the
    type of its content, `size` its bytes, `url` where this server serves it to those who may see the session.
    """

    id: str
    name: str
    mime: str
    size: int
    url: str


class _Home:
    """The files of this process's worker, if one serves."""

    files: FileStore | None = None


def serve(files: FileStore | None) -> None:
    """From now on keep files here; None ends it."""
    _Home.files = files


async def keep(data: bytes | Path, *, name: str, mime: str | None = None) -> FileRef:
    """Keep a file with the session, until that ends. The same bytes are kept once, under the newest name.

    Its type is found by its content unless `mime` gives it. It counts towards the session's files.
    Raises: FileRefused (`PARLEY_MAX_FILE_BYTES`, `PARLEY_MAX_FILES_PER_SESSION`,
    `PARLEY_MAX_FILES_BYTES_PER_SESSION`), StoreUnavailable, StoreFull, ExecutorBusy, OutsideTurn; OSError if a
    path cannot be read.
    """
    session = context.turn().session.id
    size = len(data) if isinstance(data, bytes) else (await make_async(data.stat)()).st_size
    return _ref(await _files().add(session, None, _pieces(data), name=name, size=size, mime=mime))


async def files_of(message: Message) -> list[FileRef]:
    """The files that a message names, in order: its parts whose source is a `file` of this session.

    Raises: NoSuchFile if one is not this session's, StoreUnavailable, OutsideTurn.
    """
    sources = [part.get("source", {}) for part in message.parts]
    return [
        _ref(await _info(source["value"]))
        for source in sources
        if source.get("type") == "file" and source.get("provider", PROVIDER) == PROVIDER
    ]


@asynccontextmanager
async def open_file(file: str | FileRef) -> AsyncIterator[Path]:
    """Have a file of this session at a path, inside the block of an `async with`.

    Do not change what is there. Raises: NoSuchFile, StoreUnavailable, ExecutorBusy, OutsideTurn.
    """
    async with _files().local(await _info(file)) as path:
        yield path


async def read_file(file: str | FileRef) -> bytes:
    """All bytes of a file of this session: at most `PARLEY_MAX_FILE_BYTES`. Raises: as `open_file`."""
    return b"".join([piece async for piece in _files().read(await _info(file))])


async def find_file(file: str) -> FileRef:
    """The file of this session that has this id. Raises: NoSuchFile, StoreUnavailable, OutsideTurn."""
    return _ref(await _info(file))


async def _info(file: str | FileRef) -> FileInfo:
    file = file.id if isinstance(file, FileRef) else file
    return await _files().find(context.turn().session.id, None, file)


def _files() -> FileStore:
    if _Home.files is None:
        raise OutsideTurn("no worker serves in this process: there are no files here")
    return _Home.files


def _ref(info: FileInfo) -> FileRef:
    return FileRef(info.id, info.name, info.mime, info.size, info.url)


async def _pieces(data: bytes | Path) -> AsyncIterator[bytes]:
    if isinstance(data, bytes):
        for start in range(0, len(data), CHUNK):
            yield data[start : start + CHUNK]
        return
    read, start = make_async(_read), 0
    while piece := await read(data, start):
        yield piece
        start += len(piece)


def _read(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(CHUNK)
