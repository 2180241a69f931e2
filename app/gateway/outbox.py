"""Frames on their way to one socket: a bounded queue, and a task that writes while there is something to write."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from app.metrics import FRAMES_OUT
from app.protocol.close import CloseCode

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
"""An ASGI `send`. It returns when the transport has the frame, not when the client has."""


class Outbox:
    """The frames that wait for one socket, `limit` bytes at most; a larger frame passes if it is alone.

    It fails at most once: with READS_TOO_SLOWLY if the bound is passed or one send takes longer than `timeout`
    seconds; with None if the server under us closed the socket by itself. That a client has gone is for the
    reader to hear. An outbox that failed or ended takes frames and drops them.
    """

    __slots__ = ("_bytes", "_failed", "_limit", "_open", "_send", "_timeout", "_waiting", "_writer")

    def __init__(self, send: Send, limit: int, timeout: float, failed: Callable[[CloseCode | None], None]) -> None:
        self._send = send
        self._limit = limit
        self._timeout = timeout
        self._failed = failed
        self._open = True
        self._bytes = 0
        # made for a burst of frames and dropped with it: an idle socket has neither
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
        if self._bytes and self._bytes + len(frame) > self._limit:
            self._fail(CloseCode.READS_TOO_SLOWLY)
            return
        self._bytes += len(frame)
        if self._waiting is None:
            self._waiting = deque()
            self._writer = asyncio.create_task(self._write(self._waiting))
        self._waiting.append(frame)

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

    async def _write(self, waiting: deque[bytes]) -> None:
        try:
            while waiting:
                frame = waiting.popleft()
                async with asyncio.timeout(self._timeout):
                    await self._send({"type": "websocket.send", "text": frame.decode()})
                self._bytes -= len(frame)
                FRAMES_OUT.inc()
        except TimeoutError:
            self._fail(CloseCode.READS_TOO_SLOWLY)
        except OSError:  # the client has gone (ASGI specification, "Send event" of WebSocket)
            self._open = False
        except RuntimeError:  # uvicorn has sent a close of its own: a bad frame, or pings without an answer
            self._fail(None)
        finally:
            self._bytes = 0
            self._waiting = self._writer = None

    def _fail(self, code: CloseCode | None) -> None:
        if self._open:
            self._open = False
            if self._waiting is not None:
                self._waiting.clear()
            self._failed(code)
