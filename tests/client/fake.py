"""A server that plays scenes: one for each connection, over real sockets, in the words of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from app.client import Client, ClosedByServer, Sent
from app.protocol import events
from app.protocol.codec import encode, encode_ack, encode_events
from app.protocol.frames import START, Bye, ErrorFrame, Limits, Position, Reset, Snapshot, Welcome
from tests.support.document import assert_documented

Event = dict[str, Any]


class Peer:
    """The server's end of one connection."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def frame(self, *types: str) -> dict[str, Any]:
        """The client's next frame, which must be of one of these types; pings that are not meant are passed over."""
        while True:
            frame: dict[str, Any] = orjson.loads(await self.socket.recv())
            assert_documented("fromClient", frame)
            if frame["type"] in types:
                return frame
            assert frame["type"] == "ping", frame

    async def send(self, data: bytes) -> None:
        assert_documented("toClient", orjson.loads(data))
        await self.send_nonsense(data)

    async def send_nonsense(self, data: bytes) -> None:
        """Send what no server of this protocol would."""
        await self.socket.send(data, text=True)

    async def welcome(self, acked: int = 0, *, known: bool = True, head: Position = START) -> dict[str, Any]:
        """Take the `hello` and answer it; the `hello`."""
        hello = await self.frame("hello")
        limits = Limits(frame_bytes=262_144, inbox=64)
        welcome = Welcome(
            session=hello.get("session", "s1"),
            agent=hello.get("agent", "echo"),
            user="anonymous",
            worker="w1",
            resumed="session" in hello,
            head=head,
            acked=acked,
            known=known,
            limits=limits,
        )
        await self.send(encode(welcome))
        return hello

    async def ack(self, n: int, turn: str | None = None, *, duplicate: bool = False) -> None:
        await self.send(encode_ack(n, queued=0, duplicate=duplicate, index=n, turn=turn))

    async def events(self, seq: int, *made: Event, turn: str | None = None, attempt: int = 1, mark: str = "m") -> None:
        await self.send(encode_events(seq, mark, turn, attempt, made))

    async def error(self, code: str, n: int | None = None, *, after: int | None = None, fatal: bool = False) -> None:
        await self.send(encode(ErrorFrame(code=code, message="because", n=n, retry_after_ms=after, fatal=fatal)))

    async def reset(self, head: Position, reason: Any = "trimmed", **snapshot: Any) -> None:
        content = {"messages": [], "state": None, "open": [], "truncated": False} | snapshot
        await self.send(encode(Reset(reason=reason, head=head, snapshot=Snapshot(**content))))

    async def bye(self, code: int, *, reconnect: bool, after_ms: int = 0, reason: str = "draining") -> None:
        await self.send(encode(Bye(reason=reason, reconnect=reconnect, after_ms=after_ms)))
        await self.socket.close(code)

    def drop(self) -> None:
        """Cut the connection without a word."""
        self.socket.transport.abort()

    async def gone(self) -> None:
        """Wait until the client has left."""
        await self.socket.wait_closed()


Scene = Callable[[Peer], Awaitable[None]]


class FakeServer:
    """Where it listens, and how many of its scenes were begun."""

    def __init__(self, scenes: tuple[Scene, ...]) -> None:
        self.url = ""
        self.begun = 0
        self._cues = [asyncio.Event() for _ in scenes]
        self._scenes = scenes
        self._failures: list[BaseException] = []

    async def play(self, socket: ServerConnection) -> None:
        number, self.begun = self.begun, self.begun + 1
        try:
            assert number < len(self._scenes), "a connection too many"
            self._cues[number].set()
            await self._scenes[number](Peer(socket))
        except ConnectionClosed:
            self._failures.append(AssertionError(f"the client left scene {number + 1} too early"))
        except Exception as failure:  # noqa: BLE001 - raised in the test, by check()
            self._failures.append(failure)
            await socket.close(4400, "the scene went wrong")

    async def scene(self, number: int) -> None:
        """Wait for the beginning of a scene, the first being 1."""
        await self._cues[number - 1].wait()

    def check(self) -> None:
        for failure in self._failures:
            raise failure
        assert self.begun == len(self._scenes), f"{self.begun} of {len(self._scenes)} scenes were played"


@asynccontextmanager
async def playing(*scenes: Scene) -> AsyncIterator[FakeServer]:
    """A server whose connections play these scenes one after the other; each must be played to its end."""
    fake = FakeServer(scenes)
    protocol = Subprotocol("parley.v1")
    async with serve(fake.play, "127.0.0.1", 0, subprotocols=[protocol], compression=None, close_timeout=1) as server:
        fake.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield fake
        except ClosedByServer:
            fake.check()
            raise
    fake.check()


@asynccontextmanager
async def knocking(client: Client) -> AsyncIterator[None]:
    """Ping the server meanwhile, for scenes that wait for it: what was sent before it was read by then."""
    pinging = asyncio.create_task(client.ping())
    try:
        yield
    finally:
        pinging.cancel()
        await asyncio.wait({pinging})


async def stays(peer: Peer) -> None:
    """The rest of a scene in which the client leaves when it likes."""
    await peer.gone()


def reply(turn: str, *texts: str) -> list[Event]:
    """A whole turn's events: four for one text of one piece."""
    messages = [event for number, text in enumerate(texts) for event in events.text_message(f"{turn}-{number}", text)]
    return [events.run_started("s1", turn), *messages, events.run_finished("s1", turn)]


def numbers(count: int) -> list[Event]:
    """Events that can be told apart."""
    return [events.toast(str(number)) for number in range(1, count + 1)]


async def take(source: AsyncIterator[Any], count: int) -> list[Any]:
    """The next items of an iterator."""
    async with asyncio.timeout(10):
        return [await anext(source) for _ in range(count)]


async def expect(peer: Peer, *inputs: tuple[int, str]) -> None:
    """The next inputs must be these: number, and content or kind."""
    for n, what in inputs:
        frame = await peer.frame("message", "cancel", "answer", "action", "end")
        assert (frame["n"], frame.get("content", frame["type"])) == (n, what)


async def acked(sent: Sent) -> tuple[int, str | None]:
    async with asyncio.timeout(10):
        ack = await sent.acked()
    return ack.n, ack.turn
