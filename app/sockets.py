"""uvicorn's WebSocket protocol with a short way, in and out, for what nearly all of a busy server is: one more text.

The rest, from the handshake to the closing, is uvicorn's. An application that knows this protocol finds it in its
scope, as the extension `parley.lane`: what it posts there needs no coroutine, and what it hears there no event. A frame
that may wait a moment goes out with the next one of its connection, in one system call.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Protocol
from weakref import WeakKeyDictionary

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import apply_mask  # type: ignore[attr-defined]  # the one in C where there is one
from websockets.protocol import State
from websockets.streams import StreamReader

HOLD = 0.025
"""Seconds that a frame waits for another one at most."""

FIN_TEXT = 0x81
"""The first byte of a text message in one frame (RFC 6455, section 5.2)."""

LANE = "parley.lane"
"""The extension in the scope."""

MASKED = 0x80
"""The bit of the second byte that every frame of a client has."""


class Lane(Protocol):
    """The short way to and from a socket, as an application sees it."""

    hear: Callable[[str], bool] | None
    """Takes a text that came, if it can; what it does not take is received as by any other server."""

    def post(self, text: bytes, *, hold: bool = False) -> bool:
        """Send a text at once, or `hold` it a moment for the next one; answers whether that can be."""


class Held:
    """The connections of one loop that hold frames; they all let go of them at the same time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._holding: list[LeanProtocol] = []

    def add(self, connection: LeanProtocol) -> None:
        """Have a connection let go of what it holds within HOLD."""
        if not self._holding:
            self._loop.call_later(HOLD, self._release)
        self._holding.append(connection)

    def _release(self) -> None:
        holding, self._holding = self._holding, []
        for connection in holding:
            connection.let_go()


_held: WeakKeyDictionary[asyncio.AbstractEventLoop, Held] = WeakKeyDictionary()


class Events:
    """What was read and not received: as much of `asyncio.Queue` as one reader needs, at a tenth of its memory."""

    __slots__ = ("_events", "_loop", "_reader")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._events: deque[Any] | None = None
        self._reader: asyncio.Future[None] | None = None

    def put_nowait(self, event: Any) -> None:
        """Add an event."""
        if self._events is None:
            self._events = deque()
        self._events.append(event)
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    def empty(self) -> bool:
        """Whether there is none."""
        return not self._events

    async def get(self) -> Any:
        """Take the oldest event, once there is one."""
        while not self._events:
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        event = self._events.popleft()
        if not self._events:
            self._events = None
        return event


class LeanProtocol(WebSocketsSansIOProtocol):
    """One connection. See uvicorn for what its members mean."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.queue = Events(self.loop)  # type: ignore[assignment]  # as far as it is used
        self._holds: list[bytes] = []
        self._between_frames = False
        self.hear: Callable[[str], bool] | None = None

    def handle_connect(self, event: Any) -> None:
        """Do as uvicorn does, and tell the application of this protocol."""
        super().handle_connect(event)
        if self.response.status_code == HTTPStatus.SWITCHING_PROTOCOLS:
            extensions: Any = self.scope["extensions"]
            extensions[LANE] = self

    def data_received(self, data: bytes) -> None:
        """Take in what the client sent."""
        text = _text_in(data, self.config.ws_max_size) if self._between_frames and not self.close_sent else None
        if text is None:
            super().data_received(data)
            self._between_frames = self._can_send and _waits_for_a_frame(self.conn)
        elif not self.queue.empty():
            if not self.read_paused:
                self.read_paused = True
                self.transport.pause_reading()
            self.queue.put_nowait({"type": "websocket.receive", "text": text})
        elif self.hear is None or not self.hear(text):
            self.queue.put_nowait({"type": "websocket.receive", "text": text})

    async def send(self, message: Any) -> None:
        """Send a frame, or do anything else as uvicorn does. Raises: ClientDisconnected, which is an OSError."""
        if message["type"] != "websocket.send" or not self.post(message["text"].encode()):
            self.let_go()
            await super().send(message)

    def post(self, text: bytes, *, hold: bool = False) -> bool:
        """Send a text at once, or within HOLD; a full or closed socket cannot."""
        if self.close_sent or not self._can_send or not self.writable.is_set():
            return False
        frame = _header(len(text)) + text
        if hold:
            if not self._holds:
                self._held_by_loop().add(self)
            self._holds.append(frame)
        elif self._holds:
            self._holds.append(frame)
            self.let_go()
        else:
            self.transport.write(frame)
        return True

    def let_go(self) -> None:
        """Send what is held."""
        if self._holds:
            frames, self._holds = self._holds, []
            if self._can_send:
                self.transport.write(b"".join(frames))

    @property
    def _can_send(self) -> bool:
        return self.handshake_complete and not self.disconnected and self.conn.state is State.OPEN

    def _held_by_loop(self) -> Held:
        held = _held.get(self.loop)
        if held is None:
            held = _held[self.loop] = Held(self.loop)
        return held


def _waits_for_a_frame(conn: Any) -> bool:
    """Whether websockets has nothing of the next frame, nor of a message that it would go on with."""
    at = conn.parser
    while at.gi_yieldfrom is not None:
        at = at.gi_yieldfrom
    return at.gi_code is StreamReader.at_eof.__code__ and conn.current_size is None


def _text_in(data: bytes, most: int) -> str | None:
    """The text, if this is a client's text message in one frame, whole and alone (RFC 6455, section 5.2).

    None otherwise, from 64 KiB or past `most` bytes, and if it is not UTF-8: websockets knows what to do.
    """
    if len(data) < 6 or data[0] != FIN_TEXT:  # noqa: PLR2004  # the shortest header with a mask
        return None
    size, start = data[1] - MASKED, 2  # less than nothing without a mask
    if size == 126:  # noqa: PLR2004  # it stands in the next 16 bits
        size, start = data[2] << 8 | data[3], 4
    payload = start + 4
    if len(data) - payload != size or size > most or data[1] == 0xFF:  # noqa: PLR2004  # it stands in 64 bits
        return None
    try:
        return apply_mask(data[payload:], data[start:payload]).decode()
    except UnicodeDecodeError:
        return None


def _header(size: int) -> bytes:
    """The header of a text frame without a mask (RFC 6455, section 5.2)."""
    if size < 126:  # noqa: PLR2004  # what fits in the second byte
        return bytes((FIN_TEXT, size))
    if size < 65_536:  # noqa: PLR2004  # what fits in 16 bits
        return bytes((FIN_TEXT, 126, size >> 8, size & 0xFF))
    return bytes((FIN_TEXT, 127)) + size.to_bytes(8, "big")
