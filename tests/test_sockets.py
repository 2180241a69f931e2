"""Frames on an open connection: their bytes, those that wait a moment for company, and what the end does to them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from uvicorn.protocols.utils import ClientDisconnected
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from app import tokens
from app.sockets import LeanProtocol
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
        await receive()
        await send({"type": "websocket.accept"})
        await act(receive, send)

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
