"""Files beside their routes: how a type is found, other stores than a folder, what dead workers leave behind."""

from __future__ import annotations

import asyncio
import io
import secrets
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]  # fsspec has no types
import pytest

from app.errors import ConfigError, FileRefused, NoSuchFile, StoreUnavailable
from app.settings import Settings, load
from app.store import keys
from app.store.base import Batch
from app.store.blobs import Blobs
from app.store.files import CHUNK
from app.store.kinds import Look
from app.store.redis import RedisStore
from tests.store.test_redis import claimed, session_of, store_of
from tests.support.valkey import ValkeyProcess


def written(folder: Path) -> list[bytes]:
    """What the files below a folder hold."""
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


def archive(*names: str, first: str = "") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as made:
        if first:
            made.writestr("mimetype", first)
        for name in names:
            made.writestr(name, "x")
    return packed.getvalue()


def kind(data: bytes, name: str = "a", piece: int = CHUNK) -> str:
    look = Look()
    for start in range(0, len(data), piece):
        look.feed(data[start : start + piece])
    return look.kind(name)


OFFICE = "application/vnd.openxmlformats-officedocument."


@pytest.mark.parametrize("piece", [1, CHUNK], ids=["by bytes", "whole"])
@pytest.mark.parametrize(
    ("data", "name", "found"),
    [
        (b"", "a.csv", "text/csv"),
        (b"a,b", "a.CSV", "text/csv"),
        (b"BM or not BM", "a.bmp", "text/plain"),
        (b"PAR1 is how it begins", "a", "text/plain"),
        ("naïve".encode(), "a.md", "text/markdown"),
        ("naïve".encode("latin-1"), "a.txt", "application/octet-stream"),
        ("naïve".encode()[:3], "a.txt", "application/octet-stream"),
        (b"a\0b", "a.txt", "application/octet-stream"),
        (b'{"a": 1}', "a.json", "application/json"),
        (b"  <!DOCTYPE html><p>", "a.txt", "text/html"),
        (b"<svg/>", "a.html", "image/svg+xml"),
        (b"<?xml version='1.0'?><feed/>", "a.xml", "text/xml"),
        (b"%PDF-1.7\n", "a.txt", "application/pdf"),
        (b"\x89PNG\r\n\x1a\n\0", "a.txt", "image/png"),
        (b"\xff\xd8\xff\xe0", "a", "image/jpeg"),
        (b"RIFF\1\2\3\4WEBPVP8 \xff", "a", "image/webp"),
        (b"RIFF\n\r\n\rWAVE\xff", "a", "audio/wave"),
        (b"\0\0\0\x20ftypisom", "a", "video/mp4"),
        (b"\0\0\0\x20ftypavif", "a", "image/avif"),
        (b"\x1aE\xdf\xa3\x9fB\x86\x81\1B\x82\x84webm", "a", "video/webm"),
        (b"MZ\x90\0", "a.png", "application/octet-stream"),
        (archive("a.csv"), "a.docx", "application/zip"),
        (archive("[Content_Types].xml", "xl/workbook.xml"), "a.csv", OFFICE + "spreadsheetml.sheet"),
        (archive("word/document.xml", "[Content_Types].xml"), "a", OFFICE + "wordprocessingml.document"),
        (archive("content.xml", first="application/epub+zip"), "a", "application/epub+zip"),
    ],
)
def test_a_type_is_found_by_content(data: bytes, name: str, found: str, piece: int) -> None:
    assert kind(data, name, piece) == found


def test_a_pattern_of_types_must_be_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_ALLOWED_FILE_TYPES", "image/*, text")
    with pytest.raises(ConfigError, match=r"PARLEY_ALLOWED_FILE_TYPES: .* text is no type"):
        load()


def test_an_unknown_store_stops_the_server() -> None:
    with pytest.raises(ConfigError, match="PARLEY_FILES_URL"):
        Blobs("nowhere://files")


async def test_files_in_a_store_that_is_no_folder(shared_valkey: ValkeyProcess, tmp_path: Path) -> None:
    place = f"memory://{secrets.token_hex(4)}"
    async with store_of(shared_valkey, files_url=place, data_dir=tmp_path) as store:
        session = await session_of(store)
        data = b"\x89PNG\r\n\x1a\n" + bytes(CHUNK) + b"end"
        info = await store.files.add(session, "ann", pieces(data[:9], data[9:]), name="a.png")
        assert await store.files.find(session, "ann", info.id) == info
        assert b"".join([piece async for piece in store.files.read(info)]) == data
        async with store.files.local(info) as path:
            assert (path.name, path.read_bytes()) == ("a.png", data)
        assert not path.exists()
        with pytest.raises(FileRefused):
            await store.files.add(session, "ann", pieces(b"MZ\x90\0"), name="a.png")
        assert [len(fsspec.filesystem("memory").find(place))] == [1]
        claim = await claimed(store, session)
        await store.append(claim, 0, Batch(id="end", end=True))
        with pytest.raises(NoSuchFile):
            await deleted(store, info)
    assert written(tmp_path) == []


async def deleted(store: RedisStore, info: Any) -> None:
    """Read a file until it is gone."""
    while True:
        async for _ in store.files.read(info):
            pass


async def test_the_files_of_a_dead_workers_session_are_deleted_by_the_next(
    shared_valkey: ValkeyProcess, tmp_path: Path
) -> None:
    async with store_of(shared_valkey, data_dir=tmp_path) as dying:
        session, other = await session_of(dying), await session_of(dying)
        info = await dying.files.add(session, "ann", pieces(b"x"), name="a")
        kept = await dying.files.add(other, "ann", pieces(b"x"), name="a")
        await dying.files.stop()
        claim = await claimed(dying, session)
        await dying.append(claim, 0, Batch(id="end", end=True))
        assert [piece async for piece in dying.files.read(info)] == [b"x"]
    async with store_of(shared_valkey, "w2", data_dir=tmp_path) as store:
        with pytest.raises(NoSuchFile):
            await deleted(store, info)
        assert [piece async for piece in store.files.read(kept)] == [b"x"]
        async with shared_valkey.async_client() as redis, asyncio.timeout(10):
            while await redis.exists(keys.gone(keys.partition(session)), keys.files(session)):
                await asyncio.sleep(0.01)


async def test_what_is_known_of_files_expires_with_the_session(shared_valkey: ValkeyProcess, tmp_path: Path) -> None:
    async with store_of(shared_valkey, data_dir=tmp_path) as store, shared_valkey.async_client() as redis:
        session = await session_of(store)
        await store.files.add(session, "ann", pieces(b"x"), name="a")
        assert await redis.pexpiretime(keys.files(session)) == await redis.pexpiretime(keys.meta(session))


async def test_a_file_refused_at_the_last_moment_leaves_nothing(shared_valkey: ValkeyProcess, tmp_path: Path) -> None:
    async with store_of(shared_valkey, data_dir=tmp_path, max_files_per_session=1) as store:
        session = await session_of(store)

        async def while_another_comes() -> AsyncIterator[bytes]:
            yield b"slow"
            await store.files.add(session, "ann", pieces(b"quick"), name="a")

        with pytest.raises(FileRefused, match="PARLEY_MAX_FILES_PER_SESSION"):
            await store.files.add(session, "ann", while_another_comes(), name="b")
        assert written(tmp_path) == [b"quick"]


async def test_a_store_that_fails_is_said_to_be_unavailable(shared_valkey: ValkeyProcess, tmp_path: Path) -> None:
    (tmp_path / "files").write_text("in the way")
    async with store_of(shared_valkey, data_dir=tmp_path) as store:
        with pytest.raises(StoreUnavailable, match="file store"):
            await store.files.add(await session_of(store), "ann", pieces(b"x"), name="a")


async def test_what_blocks_runs_in_the_given_threads(shared_valkey: ValkeyProcess, tmp_path: Path) -> None:
    called: list[str] = []

    async def run(f: Any, *args: Any) -> Any:
        called.append(f.__name__)
        return f(*args)

    store = RedisStore(shared_valkey.url, Settings(data_dir=tmp_path), "w1", run)
    await store.start()
    try:
        await store.files.add(await session_of(store), "ann", pieces(b"x"), name="a")
    finally:
        await store.stop()
    assert called == ["begin", "write", "close", "place"]
