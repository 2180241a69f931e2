"""The bytes of files: where they lie behind fsspec, one folder a session. Blocking; call it in a thread."""

from __future__ import annotations

import contextlib
import os
import secrets
from hashlib import sha256
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs  # type: ignore[import-untyped]  # fsspec has no types
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from app.errors import ConfigError
from app.store.kinds import Look

BLOCK = 5_242_880
"""Bytes of a part that a remote store is sent in one piece: the fewest that S3 takes."""


class Blobs:
    """The store of files at an fsspec URL. Every method may raise OSError."""

    def __init__(self, url: str) -> None:
        """Raises: ConfigError if the URL is of no kind that is known here."""
        try:
            self._fs, self._root = url_to_fs(url)
        except (ImportError, ValueError, OSError) as error:
            hint = "; for s3:// install parley-server[s3]" if url.startswith("s3") else ""
            raise ConfigError(f"PARLEY_FILES_URL: {error}{hint}") from None
        self.is_local = isinstance(self._fs, LocalFileSystem)

    def begin(self, session: str) -> Part:
        """A new file of a session, of no bytes yet."""
        if self.is_local:
            Path(self._root).mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = self._folder(session)
        self._fs.makedirs(folder, exist_ok=True)
        return Part(self._fs, folder, synced=self.is_local)

    def read(self, session: str, file: str, start: int, end: int) -> bytes:
        """Bytes of a file."""
        data: bytes = self._fs.cat_file(self._path(session, file), start=start, end=end)
        return data

    def path(self, session: str, file: str) -> Path:
        """Where a file of a local store lies."""
        return Path(self._path(session, file))

    def fetch(self, session: str, file: str, to: Path) -> None:
        """Copy a file to this machine."""
        self._fs.get_file(self._path(session, file), str(to))

    def remove(self, session: str, file: str) -> None:
        """Delete a file."""
        self._fs.rm_file(self._path(session, file))

    def drop(self, session: str) -> None:
        """Delete all files of a session; none is fine."""
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm(self._folder(session), recursive=True)

    def _path(self, session: str, file: str) -> str:
        return f"{self._folder(session)}/{file}"

    def _folder(self, session: str) -> str:
        # not the id itself: to know it is to have the session, where nobody signs in
        return f"{self._root}/{sha256(session.encode()).hexdigest()[:32]}"


class Part:
    """A file that is being written, under a name of its own until it is whole."""

    def __init__(self, fs: Any, folder: str, *, synced: bool) -> None:
        self.size = 0
        self.look = Look()
        self._fs = fs
        self._folder = folder
        self._synced = synced
        self._hash = sha256()
        self._path = f"{folder}/.{secrets.token_hex(8)}"
        self._file = fs.open(self._path, "wb", block_size=BLOCK)

    def write(self, data: bytes) -> None:
        """Add to it."""
        self._file.write(data)
        self._hash.update(data)
        self.look.feed(data)
        self.size += len(data)

    def close(self) -> str:
        """End it; the SHA-256 of its bytes."""
        if self._synced:
            self._file.flush()
            os.fsync(self._file.fileno())
        self._file.close()
        return self._hash.hexdigest()

    def place(self, file: str) -> None:
        """Give it its name; one that is there under it has the same bytes and is replaced at once."""
        self._fs.mv(self._path, f"{self._folder}/{file}")
        if self._synced:
            _sync(self._folder)

    def drop(self) -> None:
        """Delete it, if it has no name of its own yet."""
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path)


def _sync(folder: str) -> None:
    """Have a new name in a folder survive the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
