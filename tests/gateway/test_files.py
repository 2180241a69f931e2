"""Files over HTTP, on real servers: what is kept, what is refused, and what is harmless when it is given out."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
import os
import socket
import time
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from tests.conftest import StartServer
from tests.gateway.conftest import Gates
from tests.gateway.gate import Gate, until
from tests.support.server import ParleyServer
from tests.support.wire import WireClient, ends, transcript

SECRET = "a secret of more than thirty-two bytes, and of more than sixty-four"
GIB = 1 << 30
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256))
SVG = b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'

AGENT = {
    "reader": '''
"""Reads what it is given."""
import app as cl
from app.chat.files import files_of, keep, open_file, read_file

@cl.on_message
async def main(message: cl.Message):
    if message.content == "make":
        made = await keep(b"made here", name="made.txt")
        await cl.Message(f"{made.url} {made.mime}").send()
        return
    for file in await files_of(message):
        async with open_file(file) as path:
            data = path.read_bytes()
        assert data == await read_file(file.id)
        await cl.Message(f"{file.name} {file.mime} {file.size} {data[:20]!r}").send()
'''
}

Open = Callable[[str], httpx.AsyncClient]


@pytest.fixture
async def http() -> AsyncIterator[Open]:
    """Clients of a server at a URL."""
    async with AsyncExitStack() as stack:

        def client(url: str) -> httpx.AsyncClient:
            made = httpx.AsyncClient(base_url=url, trust_env=False, timeout=20)
            stack.push_async_callback(made.aclose)
            return made

        yield client


@asynccontextmanager
async def joined(url: str, **hello: Any) -> AsyncIterator[WireClient]:
    """A client in a session of its own."""
    async with await WireClient.connect(url) as client:
        await client.hello(**hello)
        yield client


def session_of(client: WireClient) -> str:
    return str(client.welcome["session"])


async def upload(
    client: httpx.AsyncClient, session: str, content: Any, name: str = "a.txt", **headers: str
) -> httpx.Response:
    return await client.post(f"/sessions/{session}/files", params={"name": name}, content=content, headers=headers)


def refused(answer: httpx.Response, status: int, code: str, *words: str) -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    for word in words:
        assert word in answer.json()["message"]


def is_fenced(answer: httpx.Response) -> bool:
    """Whether what is given out can do nothing, even opened as a page."""
    fence = (answer.headers["x-content-type-options"], answer.headers["content-security-policy"])
    return fence == ("nosniff", "sandbox; default-src 'none'")


def kept(server: ParleyServer) -> list[Path]:
    """The files in the server's store, half-written ones among them."""
    return written(server.data / "files")


def written(folder: Path) -> list[Path]:
    """By os.walk, which passes over a folder that is deleted meanwhile; Path.rglob raises."""
    return [Path(at, name) for at, _, names in os.walk(folder) for name in names]


def signed(user: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(user)}"}


def token(user: str) -> str:
    return jwt.encode({"sub": user, "exp": int(time.time()) + 600}, SECRET, "HS256")


# ---- kept and given out


async def test_a_file_is_kept_under_its_hash_and_given_out_as_it_was(server: StartServer, http: Open) -> None:
    running = server(AGENT)
    client = http(running.url)
    async with joined(running.ws_url) as tab:
        content = b"a,b\n" + b"1,2\n" * 400_000  # more than one piece
        made = await upload(client, session_of(tab), content, "numbers.csv")
        item = made.json()
        assert made.status_code == 201
        assert item == {
            "id": hashlib.sha256(content).hexdigest(),
            "name": "numbers.csv",
            "type": "text/csv",
            "size": len(content),
            "url": f"/sessions/{session_of(tab)}/files/{item['id']}",
        }
        given = await client.get(item["url"])
        assert (given.status_code, given.content) == (200, content)
        assert given.headers["content-disposition"].startswith('attachment; filename="numbers.csv"')
        assert is_fenced(given)
        again = await client.get(item["url"], headers={"If-None-Match": given.headers["etag"]})
        assert (again.status_code, again.content, is_fenced(again)) == (304, b"", True)
        # its folder does not tell the id of the session, which is all one needs to see it
        assert [session_of(tab) in str(path) for path in kept(running)] == [False]


async def test_an_image_is_shown_in_place_and_a_page_never(server: StartServer, http: Open) -> None:
    running = server(AGENT)
    client = http(running.url)
    async with joined(running.ws_url) as tab:
        for content, name, kind, served, how in (
            (PNG, "a.png", "image/png", "image/png", "inline"),
            (SVG, "a.svg", "image/svg+xml", "application/octet-stream", "attachment"),
            (SVG, "a.png", "image/svg+xml", "application/octet-stream", "attachment"),
            (b"\xef\xbb\xbf<!-- -->\n<html><script>alert(1)", "a.txt", "text/html", "text/plain", "attachment"),
            (b"GIF89a=1;alert(1)", "a.gif", "text/plain", "text/plain", "attachment"),
        ):
            item = (await upload(client, session_of(tab), content, name)).json()
            assert item["type"] == kind, name
            given = await client.get(item["url"])
            assert given.content == content
            assert given.headers["content-type"].partition(";")[0] == served, name
            assert given.headers["content-disposition"].partition(";")[0] == how, name
            assert is_fenced(given)


async def test_the_same_bytes_are_one_file_with_the_newest_name(server: StartServer, http: Open) -> None:
    running = server(AGENT, env={"PARLEY_MAX_FILES_PER_SESSION": "2"})
    client = http(running.url)
    async with joined(running.ws_url) as tab:
        answers = await asyncio.gather(*(upload(client, session_of(tab), PNG, f"{n}.png") for n in range(8)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["id"] for answer in answers}) == 1
        assert len(kept(running)) == 1
        last = (await upload(client, session_of(tab), PNG, "last.png")).json()
        given = await client.get(last["url"])
        assert (given.content, 'filename="last.png"' in given.headers["content-disposition"]) == (PNG, True)


async def test_an_agent_reads_what_a_message_names_and_shows_its_own(server: StartServer, http: Open) -> None:
    running = server(AGENT)
    client = http(running.url)
    async with joined(running.ws_url) as tab, joined(running.ws_url) as other:
        file = (await upload(client, session_of(tab), b"a,b\n1,2\n", "../été.csv")).json()["id"]
        part = {"type": "document", "source": {"type": "file", "value": file}}
        await tab.count("message", content=[{"type": "text", "text": "read"}, part])
        assert transcript(await tab.collect(ends()))[-1] == ("assistant", "été.csv text/csv 8 b'a,b\\n1,2\\n'")
        await tab.count("message", content="make")
        url, kind = transcript(await tab.collect(ends()))[-1][1].split()
        assert (kind, (await client.get(url)).content) == ("text/plain", b"made here")
        # what another session names is not there
        await other.count("message", content=[part])
        last = (await other.collect(ends()))[-1]["events"][-1]
        assert (last["type"], last["code"]) == ("RUN_ERROR", "handler_error")


# ---- refused or made harmless


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("chunked", [False, True], ids=["said", "unsaid"])
async def test_a_gibibyte_is_refused_early_with_memory_flat(server: StartServer, http: Open, chunked: bool) -> None:  # noqa: FBT001
    running = server(AGENT)
    async with joined(running.ws_url) as tab:
        assert (await upload(http(running.url), session_of(tab), b"x" * 10_485_760)).status_code == 201
        await pour(running, session_of(tab), chunked=chunked, size=1 << 25)  # what is allocated once is allocated now
        before = memory(running.pid)
        peak = asyncio.create_task(peak_of(running.pid))
        status, sent = await pour(running, session_of(tab), chunked=chunked, size=GIB)
        peak.cancel()
        assert status == 413
        assert sent < GIB / 8, "the connection should be closed long before all is sent"
        assert max(*PEAKS[running.pid], memory(running.pid)) - before < 6 << 20
        assert len(kept(running)) == 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
async def test_a_large_file_passes_through_with_memory_flat(server: StartServer, http: Open) -> None:
    size = 1 << 27
    running = server(
        AGENT, env=dict.fromkeys(("PARLEY_MAX_FILE_BYTES", "PARLEY_MAX_FILES_BYTES_PER_SESSION"), str(size * 2))
    )
    client = http(running.url)
    async with joined(running.ws_url) as tab:
        assert (await upload(client, session_of(tab), b"x" * 4_000_000)).status_code == 201
        before = memory(running.pid)
        peak = asyncio.create_task(peak_of(running.pid))
        made = await upload(client, session_of(tab), repeated(b"y" * 65_536, size), "large.txt")
        assert made.json()["size"] == size
        async with client.stream("GET", made.json()["url"]) as given:
            assert sum([len(piece) async for piece in given.aiter_bytes()]) == size
        peak.cancel()
        assert max(PEAKS[running.pid]) - before < size / 8


async def repeated(piece: bytes, size: int) -> AsyncIterator[bytes]:
    for _ in range(size // len(piece)):
        yield piece


async def test_a_sender_a_little_over_the_limit_gets_to_send_all_and_to_read_why(server: StartServer) -> None:
    running = server(AGENT)
    async with joined(running.ws_url) as tab:
        for chunked in (False, True):
            assert await pour(running, session_of(tab), chunked=chunked, size=161 << 16) == (413, 161 << 16)


PEAKS: dict[int, list[int]] = {}


async def peak_of(pid: int) -> None:
    PEAKS[pid] = [memory(pid)]
    while True:
        await asyncio.sleep(0.01)
        PEAKS[pid].append(memory(pid))


def memory(pid: int) -> int:
    """The bytes a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024


async def pour(server: ParleyServer, session: str, *, chunked: bool, size: int) -> tuple[int, int]:
    """Send a body without looking at the answer, until all is sent or the server closes; status and bytes sent."""
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    head = f"POST /sessions/{session}/files HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}\r\n\r\n".encode()
    piece = b"x" * 65_536
    framed = b"10000\r\n" + piece + b"\r\n" if chunked else piece
    return await asyncio.to_thread(_pour, server.port, head, framed, size // len(piece))


def _pour(port: int, head: bytes, framed: bytes, pieces: int) -> tuple[int, int]:
    # asyncio's streams forget an answer that is there when a write fails
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(head)
        with contextlib.suppress(ConnectionError):
            while sent < pieces:
                connection.sendall(framed)
                sent += 1
        return int(connection.recv(65_536).split()[1]), sent * 65_536


async def test_one_byte_over_the_limit_is_told_so(server: StartServer, http: Open) -> None:
    running = server(AGENT, env={"PARLEY_MAX_FILE_BYTES": "2000"})
    client = http(running.url)
    async with joined(running.ws_url) as tab:
        assert (await upload(client, session_of(tab), b"x" * 2000)).status_code == 201
        refused(await upload(client, session_of(tab), b"x" * 2001), 413, "too_large", "2000", "PARLEY_MAX_FILE_BYTES")

        async def unsaid() -> AsyncIterator[bytes]:
            for _ in range(3):
                yield b"x" * 1000

        refused(await upload(client, session_of(tab), unsaid()), 413, "too_large")
        assert len(kept(running)) == 1


async def test_a_zip_named_csv_is_refused_for_what_it_is(server: StartServer, http: Open) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", "a,b\n1,2\n")
    running = server(AGENT)
    async with joined(running.ws_url) as tab:
        answer = await upload(http(running.url), session_of(tab), packed.getvalue(), "a.csv", content_type="text/csv")
        refused(answer, 415, "type_refused", "application/zip", "PARLEY_ALLOWED_FILE_TYPES")
        assert kept(running) == []


async def test_where_a_zip_may_come_it_is_no_csv(server: StartServer, http: Open) -> None:
    running = server(AGENT, env={"PARLEY_ALLOWED_FILE_TYPES": "*/*"})
    client = http(running.url)
    async with joined(running.ws_url) as tab:
        item = (await upload(client, session_of(tab), b"PK\x03\x04" + bytes(60), "a.csv")).json()
        assert item["type"] == "application/zip"
        given = await client.get(item["url"])
        assert given.headers["content-type"] == "application/octet-stream"


@pytest.mark.parametrize(
    ("name", "clean"),
    [
        ("../../../etc/passwd", "passwd"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("..", "file"),
        ("", "file"),
        ("a\r\nSet-Cookie: x=1\0.csv", "aSet-Cookie_ x=1.csv"),
        ("gpj.\u202eexe.csv", "gpj.exe.csv"),
        ("e\u0301.csv", "é.csv"),
        ("x" * 9_996 + ".csv", "x" * 251 + ".csv"),
        ("x" * 10_000, "x" * 255),
        ('a"b%41;.csv', "a_b%41;.csv"),
    ],
    ids=["path", "backslashes", "dots", "none", "control", "bidi", "composed", "long", "long without end", "quotes"],
)
async def test_a_name_is_made_one(gates: Gates, http: Open, tmp_path: Path, name: str, clean: str) -> None:
    gate = await gates.open(data_dir=tmp_path)
    client = http(url(gate))
    session = await made(gate)
    item = (await upload(client, session, b"a,b\n1,2\n", name)).json()
    assert item["name"] == clean
    header = (await client.get(item["url"])).headers["content-disposition"]
    assert header.count('"') == 2
    assert "%41" not in header.partition("filename*")[0]


async def test_only_the_sessions_own_user_gets_at_its_files(server: StartServer, http: Open) -> None:
    running = server(AGENT, env={"PARLEY_AUTH_JWT_SECRET": SECRET})
    client = http(running.url)
    async with joined(running.ws_url, token=token("ann")) as ann, joined(running.ws_url, token=token("bob")) as bob:
        item = (await upload(client, session_of(ann), PNG, **signed("ann"))).json()
        mine = item["url"]
        assert (await client.get(mine, headers=signed("ann"))).content == PNG
        refused(await client.get(mine), 401, "not_authenticated")
        refused(await client.get(mine, headers=signed("bob")), 403, "not_yours")
        refused(await upload(client, session_of(ann), PNG), 401, "not_authenticated")
        refused(await upload(client, session_of(ann), PNG, **signed("bob")), 403, "not_yours")
        # and under a session of one's own another's file is not there
        there = f"/sessions/{session_of(bob)}/files/{item['id']}"
        refused(await client.get(there, headers=signed("bob")), 404, "no_such_file")


@pytest.mark.parametrize("file", ["%23bytes", "..%2f..%2flock", "0" * 64, "A" * 64])
async def test_what_is_no_file_of_the_session_is_not_there(gates: Gates, http: Open, tmp_path: Path, file: str) -> None:
    gate = await gates.open(data_dir=tmp_path)
    client = http(url(gate))
    session = await made(gate)
    assert (await upload(client, session, PNG)).status_code == 201
    assert (await client.get(f"/sessions/{session}/files/{file}")).status_code == 404
    for nowhere in ("no-such-session", "x" * 5_000):
        refused(await upload(client, nowhere, PNG), 404, "no_such_session")


# ---- bounds


async def test_uploads_at_once_do_not_pass_the_bound_of_files(server: StartServer, http: Open) -> None:
    running = server(AGENT, env={"PARLEY_MAX_FILES_PER_SESSION": "3"})
    client = http(running.url)
    async with joined(running.ws_url) as tab, joined(running.ws_url) as other:
        answers = await asyncio.gather(*(upload(client, session_of(tab), b"%d" % n) for n in range(12)))
        assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 9
        full = next(answer for answer in answers if answer.status_code == 409)
        refused(full, 409, "too_many_files", "3", "PARLEY_MAX_FILES_PER_SESSION")
        assert len(kept(running)) == 3
        assert (await upload(client, session_of(other), b"0")).status_code == 201


async def test_the_bytes_of_a_session_are_bounded(gates: Gates, http: Open, tmp_path: Path) -> None:
    gate = await gates.open(data_dir=tmp_path, max_files_bytes_per_session=3_000)
    client = http(url(gate))
    session = await made(gate)
    answers = await asyncio.gather(*(upload(client, session, b"%d" % n * 1_000) for n in range(6)))
    assert sorted(answer.status_code for answer in answers) == [201] * 3 + [409] * 3
    refused(await upload(client, session, b"x"), 409, "too_many_files", "PARLEY_MAX_FILES_BYTES_PER_SESSION")


async def test_a_form_is_refused(gates: Gates, http: Open, tmp_path: Path) -> None:
    gate = await gates.open(data_dir=tmp_path)
    session = await made(gate)
    answer = await http(url(gate)).post(f"/sessions/{session}/files", files={"file": ("a.txt", b"a")})
    refused(answer, 415, "form", "?name=")


async def test_another_page_may_not_upload(gates: Gates, http: Open, tmp_path: Path) -> None:
    gate = await gates.open(data_dir=tmp_path)
    answer = await upload(http(url(gate)), await made(gate), PNG, Origin="https://elsewhere.example")
    refused(answer, 403, "origin_refused")


async def test_an_upload_that_stops_is_given_up_and_leaves_nothing(
    gates: Gates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.files.SILENT_FOR", 0.1)
    gate = await gates.open(data_dir=tmp_path)
    reader, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    head = f"POST /sessions/{await made(gate)}/files HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n"
    writer.write(head.encode() + b"x")
    async with asyncio.timeout(10):
        answer = await reader.read()  # until the server closes
    writer.close()
    assert b"408" in answer.splitlines()[0]
    assert b"too_slow" in answer
    assert written(tmp_path) == []


async def test_uploads_past_those_a_worker_takes_at_once_are_told_to_come_again(
    gates: Gates, http: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.files.UPLOADS_AT_ONCE", 1)
    gate = await gates.open(data_dir=tmp_path)
    client, session = http(url(gate)), await made(gate)
    never = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield b"x"
        await never.wait()

    first = asyncio.create_task(upload(client, session, stalling()))
    await until(lambda: written(tmp_path), "the first upload has begun")
    second = await upload(client, session, b"y")
    refused(second, 503, "busy")
    assert second.headers["retry-after"] == "2"
    never.set()
    assert (await first).status_code == 201
    assert (await upload(client, session, b"y")).status_code == 201


# ---- how long they live


async def test_files_live_through_a_restart_and_go_with_their_session(server: StartServer, http: Open) -> None:
    running = server(AGENT)
    client = http(running.url)
    async with joined(running.ws_url) as tab:
        session = session_of(tab)
        item = (await upload(client, session, PNG, "a.png")).json()
    await asyncio.to_thread(running.restart)
    assert (await client.get(item["url"])).content == PNG
    async with joined(running.ws_url, session=session) as tab, joined(running.ws_url) as other:
        assert (await upload(client, session_of(other), PNG)).status_code == 201
        await tab.count("end")
        await tab.closed()
        refused(await client.get(item["url"]), 410, "session_ended")
        refused(await upload(client, session, PNG), 410, "session_ended")
        await until(lambda: len(kept(running)) == 1, "the ended session's file is deleted, and only that")


async def test_files_go_with_a_session_that_expires(server: StartServer, http: Open) -> None:
    running = server(AGENT, env={"PARLEY_EMPTY_SESSION_TTL": "0.5"})
    async with joined(running.ws_url) as tab:
        assert (await upload(http(running.url), session_of(tab), PNG)).status_code == 201
        assert len(kept(running)) == 1
    await until(lambda: kept(running) == [], "the expired session's file is deleted")


def url(gate: Gate) -> str:
    return f"http://127.0.0.1:{gate.port}"


async def made(gate: Gate) -> str:
    """A session without a connection."""
    session = f"session-{time.monotonic_ns()}"
    await gate.store.create(session, "anonymous", "echo", "")
    return session
