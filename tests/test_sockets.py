"""Frames on an open connection: their bytes, those that wait a moment for company, and what the end does to them."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode

from app import tokens
from app.sockets import LANE, Lane, LeanProtocol
from tests.support.serving import serving

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Act = Callable[[Receive, Send], Awaitable[None]]


def text(content: str, *, hold: bool = False) -> dict[str, Any]:
    return {"type": "websocket.send", "text": content, "hold": hold}


@asynccontextmanager
async def connected(act: Act) -> AsyncIterator[ClientConnection]:
    """A client of a server that does this on each connection."""

    async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
        assert scope["type"] == "websocket"
        lane: Lane = scope["extensions"][LANE]

        async def say(message: dict[str, Any]) -> None:
            if not (message.pop("hold", False) and lane.post(message["text"].encode(), hold=True)):
                await send(message)

        await receive()
        await send({"type": "websocket.accept"})
        await act(receive, say)

    async with serving(app) as port, connect(f"ws://127.0.0.1:{port}", compression=None, max_size=None) as client:
        yield client


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all that is written, from the handshake on."""
    sizes: list[int] = []
    made = LeanProtocol.connection_made

    class Watched:
        def __init__(self, transport: asyncio.Transport) -> None:
            self._transport = transport

        def __getattr__(self, name: str) -> Any:
            return getattr(self._transport, name)

        def write(self, data: bytes) -> None:
            sizes.append(len(data))
            self._transport.write(data)

    def connection_made(self: LeanProtocol, transport: asyncio.Transport) -> None:
        made(self, transport)
        self.transport = Watched(transport)  # type: ignore[assignment]  # as good as one

    monkeypatch.setattr(LeanProtocol, "connection_made", connection_made)
    return sizes


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 1_000_000])
async def test_a_text_of_any_size_arrives_as_it_was(size: int) -> None:
    content = "ö" * (size // 2) + "x" * (size % 2)

    async def act(receive: Receive, send: Send) -> None:
        await send(text(content))
        await receive()

    async with connected(act) as client:
        assert await client.recv() == content


async def test_a_held_frame_goes_out_with_the_next_one(writes: list[int]) -> None:
    async def act(receive: Receive, send: Send) -> None:
        await send(text("first", hold=True))
        await send(text("second", hold=True))
        await send(text("third"))
        await receive()

    async with connected(act) as client:
        assert [await client.recv() for _ in range(3)] == ["first", "second", "third"]
        assert writes[1:] == [len("firstsecondthird") + 3 * 2]


async def test_a_held_frame_goes_out_without_another_one() -> None:
    async def act(receive: Receive, send: Send) -> None:
        await send(text("alone", hold=True))
        await receive()
        await send(text("again", hold=True))
        await receive()

    async with connected(act) as client:
        assert await client.recv() == "alone"
        await client.send("go on")
        assert await client.recv() == "again"


async def test_a_held_frame_goes_out_before_a_close() -> None:
    async def act(receive: Receive, send: Send) -> None:
        await send(text("last", hold=True))
        await send({"type": "websocket.close", "code": 4410})
        await receive()

    async with connected(act) as client:
        assert await client.recv() == "last"
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4410


async def test_frames_keep_their_order_where_the_client_reads_slowly() -> None:
    piece = "x" * 100_000

    async def act(receive: Receive, send: Send) -> None:
        for k in range(100):
            await send(text(f"{k} {piece}", hold=k % 2 == 0))
        await receive()

    async with connected(act) as client:
        assert [(await client.recv()).split()[0] for _ in range(100)] == [str(k) for k in range(100)]


async def test_a_frame_for_a_client_that_has_gone_is_an_error() -> None:
    failed = asyncio.get_running_loop().create_future()

    async def act(receive: Receive, send: Send) -> None:
        await receive()
        try:
            await send(text("nobody hears it"))
        except OSError as error:
            failed.set_result(error)

    async with connected(act) as client:
        client.transport.abort()
        assert isinstance(await failed, ClientDisconnected)


def masked(opcode: Opcode, data: bytes, *, fin: bool = True) -> bytes:
    return Frame(opcode, data, fin=fin).serialize(mask=True)


FRAMES = {
    "text": masked(Opcode.TEXT, "grüße".encode()),
    "empty": masked(Opcode.TEXT, b""),
    "long text": masked(Opcode.TEXT, b"x" * 300),
    "very long text": masked(Opcode.TEXT, b"y" * 70_000),
    "long header": bytes((0x81, 0xFF, 0, 0, 0, 0, 0, 0, 0, 119, 0, 0, 0, 0)) + b"z" * 119,
    "bytes": masked(Opcode.BINARY, b"\x00\xff"),
    "ping": masked(Opcode.PING, b"p"),
    "in parts": masked(Opcode.TEXT, b"one ", fin=False) + masked(Opcode.PING, b"") + masked(Opcode.CONT, b"two"),
}
HEARD: dict[str, str | bytes | None] = {
    "text": "grüße", "empty": "", "long header": "z" * 119, "long text": "x" * 300,
    "very long text": "y" * 70_000, "bytes": b"\x00\xff",
    "ping": None, "in parts": "one two",
}  # fmt: skip


@pytest.fixture
def protocols(monkeypatch: pytest.MonkeyPatch) -> list[LeanProtocol]:
    """The server's ends of the connections."""
    found: list[LeanProtocol] = []
    made = LeanProtocol.connection_made

    def connection_made(self: LeanProtocol, transport: asyncio.Transport) -> None:
        made(self, transport)
        found.append(self)

    monkeypatch.setattr(LeanProtocol, "connection_made", connection_made)
    return found


@pytest.mark.parametrize("seed", range(40))
async def test_messages_arrive_as_they_were_however_they_are_cut(protocols: list[LeanProtocol], seed: int) -> None:
    rng = random.Random(seed)
    sent = rng.choices(list(FRAMES), k=12)
    alone = [FRAMES[name] for name in sent]
    data = b"".join(alone)
    cuts = sorted(rng.sample(range(len(data)), rng.choice((0, 3, 12))))
    chunks = alone if seed % 2 else [data[a:b] for a, b in pairwise([0, *cuts, len(data)])]
    due = [HEARD[name] for name in sent if name != "ping"]
    heard: list[Any] = []
    over = asyncio.Event()

    def note(content: Any) -> None:
        heard.append(content)
        if len(heard) == len(due):
            over.set()

    def hear(content: str) -> bool:
        takes = rng.random() < 0.5
        if takes:
            note(content)
        return takes

    async def act(receive: Receive, _: Send) -> None:
        while (message := await receive())["type"] == "websocket.receive":
            note(message.get("text", message.get("bytes")))

    async with connected(act):
        protocols[0].hear = hear if seed % 4 else None
        for chunk in chunks:
            protocols[0].data_received(chunk)
            if seed % 3:
                await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await over.wait()
        assert heard == due


async def test_what_looks_like_a_frame_inside_of_another_is_none(protocols: list[LeanProtocol]) -> None:
    inner = masked(Opcode.TEXT, b"inner")
    outer = bytes((0x82, 0x80 | len(b"outer" + inner), 0, 0, 0, 0)) + b"outer" + inner
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def act(receive: Receive, _: Send) -> None:
        heard.set_result((await receive()).get("bytes", b""))
        await receive()

    async with connected(act):
        protocols[0].data_received(outer[: -len(inner)])
        protocols[0].data_received(inner)
        assert await heard == b"outer" + inner


WRONG = {
    "not UTF-8": ([masked(Opcode.TEXT, b"\xff")], 1007),
    "without a mask": ([Frame(Opcode.TEXT, b"x" * 9).serialize(mask=False)], 1002),
    "with a bit that nobody agreed on": ([b"\xc1" + masked(Opcode.TEXT, b"x")[1:]], 1002),
    "amid the parts of another": ([masked(Opcode.TEXT, b"x", fin=False), masked(Opcode.TEXT, b"x")], 1002),
    "too large": ([masked(Opcode.TEXT, b"x" * 2_001)], 1009),
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_is_not_as_it_must_be_ends_the_connection(protocols: list[LeanProtocol], what: str) -> None:
    chunks, code = WRONG[what]

    async def act(receive: Receive, send: Send) -> None:
        await receive()
        await send(text("heard"))
        await receive()

    async with connected(act) as client:
        await client.send("well")
        await client.recv()
        protocols[0].config.ws_max_size = protocols[0].conn.max_message_size = 2_000
        for chunk in chunks:
            protocols[0].data_received(chunk)
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == code


async def test_what_nobody_receives_stops_the_reading(protocols: list[LeanProtocol]) -> None:
    go_on = asyncio.Event()

    async def act(receive: Receive, send: Send) -> None:
        await receive()
        await send(text("heard"))
        await go_on.wait()
        for _ in range(3):
            await send(text((await receive())["text"]))
        await receive()

    async with connected(act) as client:
        await client.send("well")
        await client.recv()
        for k in range(3):
            assert protocols[0].transport.is_reading() == (k < 2)
            protocols[0].data_received(masked(Opcode.TEXT, b"%d" % k))
        go_on.set()
        assert [await client.recv() for _ in range(3)] == ["0", "1", "2"]
        assert protocols[0].transport.is_reading()


def test_tokens_are_never_the_same() -> None:
    count = 3 * tokens.DRAWN_AT_ONCE
    drawn = [tokens.new_token() for _ in range(count)]
    assert len(set(drawn)) == count
    assert {len(token) for token in drawn} == {16}


def test_a_forked_child_draws_other_tokens() -> None:
    tokens.new_token()
    readable, writable = os.pipe()
    child = os.fork()
    if child == 0:  # pragma: no cover
        os.write(writable, tokens.new_token().encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(readable, 16).decode() not in [tokens.new_token() for _ in range(tokens.DRAWN_AT_ONCE)]
