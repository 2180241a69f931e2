"""Frames on their way to one socket: sent at once if its transport takes them, else kept in a bounded queue."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any

from app.gateway.eager import begin
from app.metrics import FRAMES_OUT
from app.protocol.close import CloseCode
from app.sockets import Lane

Message = MutableMapping[str, Any]
Send = Callable[[Message], Coroutine[Any, Any, None]]
"""An ASGI `send`. It returns when the transport has the frame, not when the client has."""


class Outbox:
    """The frames that wait for one socket, `limit` bytes at most; a larger frame passes if it is alone.

    It fails at most once: with READS_TOO_SLOWLY if the bound is passed or one send takes longer than `timeout`
    seconds; with None if the server under us closed the socket by itself. That a client has gone is for the
    reader to hear. An outbox that failed or ended takes frames and drops them.
    """

    __slots__ = ("_bytes", "_failed", "_lane", "_limit", "_open", "_send", "_timeout", "_waiting", "_writer")

    def __init__(
        self,
        send: Send,
        limit: int,
        timeout: float,
        failed: Callable[[CloseCode | None], None],
        lane: Lane | None = None,
    ) -> None:
        self._send = send
        self._lane = lane
        self._limit = limit
        self._timeout = timeout
        self._failed = failed
        self._open = True
        self._bytes = 0
        # made when the transport is full and dropped when all is sent: most sockets have neither
        self._waiting: deque[bytes] | None = None
        self._writer: asyncio.Task[None] | None = None

    @property
    def waiting_bytes(self) -> int:
        """Bytes of the frames that the transport does not have yet."""
        return self._bytes

    def put(self, frame: bytes) -> None:
        """Have a frame sent after those that wait."""
        if not self._open:
            return
        if self._waiting is None:
            self._send_at_once(frame)
        elif self._bytes + len(frame) > self._limit:
            self._fail(CloseCode.READS_TOO_SLOWLY)
        else:
            self._bytes += len(frame)
            self._waiting.append(frame)

    def put_soon(self, frame: bytes) -> None:
        """The same for one that the next frame may take along, if that comes within milliseconds."""
        if self._open and self._waiting is None:
            self._send_at_once(frame, hold=True)
        else:
            self.put(frame)

    def has_room(self, size: int) -> bool:
        """Whether a frame that can wait should be put now: half of the bound is for those that cannot."""
        return not self._bytes or self._bytes + size <= self._limit // 2

    async def drained(self) -> None:
        """Return when nothing waits any more, be it sent or dropped."""
        while self._writer is not None and not self._writer.done():
            await asyncio.wait({self._writer})

    def end(self, frame: bytes | None) -> None:
        """Have a last frame sent after those that wait, and take no more."""
        if frame is not None:
            self.put(frame)
        self._open = False

    def close(self) -> None:
        """Drop what waits and what is being sent, and take no more."""
        self._open = False
        if self._writer is not None:
            self._writer.cancel()

    def _send_at_once(self, frame: bytes, *, hold: bool = False) -> None:
        if self._lane is not None and self._lane.post(frame, hold=hold):
            FRAMES_OUT.inc()
            return
        try:
            sending = begin(self._send({"type": "websocket.send", "text": frame.decode()}))
        except (OSError, RuntimeError) as error:
            self._lost(error)
            return
        if sending is None:
            FRAMES_OUT.inc()
        else:
            self._bytes = len(frame)
            self._waiting = deque()
            self._writer = asyncio.create_task(self._write(sending, self._waiting))

    async def _write(self, sending: Awaitable[None], waiting: deque[bytes]) -> None:
        size = self._bytes
        try:
            while True:
                async with asyncio.timeout(self._timeout):
                    await sending
                self._bytes -= size
                FRAMES_OUT.inc()
                if not waiting:
                    break
                frame = waiting.popleft()
                size = len(frame)
                sending = self._send({"type": "websocket.send", "text": frame.decode()})
        except (OSError, RuntimeError) as error:
            self._lost(error)
        finally:
            self._bytes = 0
            self._waiting = self._writer = None

    def _lost(self, error: OSError | RuntimeError) -> None:
        if isinstance(error, TimeoutError):
            self._fail(CloseCode.READS_TOO_SLOWLY)
        elif isinstance(error, OSError):  # the client has gone (ASGI specification, "Send event" of WebSocket)
            self._open = False
        else:  # uvicorn has sent a close of its own: a bad frame, or pings without an answer
            self._fail(None)

    def _fail(self, code: CloseCode | None) -> None:
        if self._open:
            self._open = False
            if self._waiting is not None:
                self._waiting.clear()
            self._failed(code)
