"""A TCP proxy that breaks what goes through it: the network between clients, workers and their store."""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from functools import partial
from typing import Literal

from hiredis import Reader

Direction = Literal["up", "down"]
Kind = Literal["all", "subscriber", "commands"]

CHUNK = 65_536
"""Most bytes in hand each way of a connection; what its peer sends beyond them waits in the kernel's buffers."""

THROTTLE_STEP = 0.05
"""Seconds of a throttled connection's rate that are sent at once."""

SUBSCRIBE = re.compile(rb"\*\d+\r\n\$\d+\r\n(?:[PS]?SUBSCRIBE|P?SYNC)\r\n", re.IGNORECASE)
LONGEST_SUBSCRIBE = 48
"""More bytes than such a beginning of a command has: it may lie across two chunks."""

RST = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: to close is to reset."""

LINE = re.compile(rb"[^\n]*\n|[^\n]+")
"""Every reply ends with a newline, so a reader that is fed line by line shows where each one ends."""

NONE_YET = object()


class FaultProxy:
    """One port of 127.0.0.1 in front of one upstream, in the loop that started it; faithful until told otherwise.

    Up is from who connects to the upstream. What a method asks for holds for all connections, those to come among
    them. `upstream` may be given another value: connections that are open stay at the old one unless they are reset.
    """

    def __init__(self, upstream: tuple[str, int]) -> None:
        self.upstream = upstream
        self.port = 0
        self._faults = _Faults()
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self._accepting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen on a free port, from now on `port`."""
        listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        listener.setblocking(False)  # noqa: FBT003  # named so by the socket module
        self.port = listener.getsockname()[1]
        self._accepting = asyncio.create_task(self._accept(listener))

    async def stop(self) -> None:
        """Listen no more and end every connection."""
        tasks = [*self._links.values(), *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def count(self, only: Kind = "all") -> int:
        """Connections that are open."""
        return len(self._of(only))

    def delay(self, seconds: float) -> None:
        """Hold each chunk back for so long, both ways; 0 ends it."""
        self._faults.seconds = seconds

    def stall(self, direction: Direction) -> None:
        """Forward nothing this way; what is sent waits. `flow` ends it."""
        self._faults.flowing[direction].clear()

    def flow(self) -> None:
        """Forward again what was stalled."""
        for gate in self._faults.flowing.values():
            gate.set()

    def throttle(self, bytes_per_second: float | None) -> None:
        """Forward no faster each way of each connection; None ends it."""
        self._faults.rate = bytes_per_second

    def reset(self, *, only: Kind = "all") -> int:
        """Reset connections both ways, now; how many.

        One on which SUBSCRIBE, PSUBSCRIBE or SSUBSCRIBE was sent is a subscriber's, and so is a replica's; every other
        one is of commands.
        """
        hit = self._of(only)
        for link in hit:
            link.resets = True
            self._links[link].cancel()
        return len(hit)

    def cut_in_frame(self) -> None:
        """Forward one half of the next chunk that goes up, then reset its connection."""
        self._faults.cut = True

    def drop_reply(self, nth: int) -> None:
        """Swallow the nth of the replies that a Redis gives to commands from now on, and reset its connection."""
        assert nth > 0, "replies are counted from 1"
        self._faults.replies_left = nth

    def _of(self, only: Kind) -> list[_Link]:
        return [link for link in self._links if only == "all" or link.subscriber == (only == "subscriber")]

    async def _accept(self, listener: socket.socket) -> None:
        with listener:
            while True:
                client, _ = await asyncio.get_running_loop().sock_accept(listener)
                link = _Link(self._faults, client)
                task = self._links[link] = asyncio.create_task(link.run(self.upstream))
                task.add_done_callback(partial(self._ended, link))

    def _ended(self, link: _Link, _: asyncio.Task[None]) -> None:
        del self._links[link]
        link.close()


class _Faults:
    """What goes wrong at present."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.rate: float | None = None
        self.flowing: dict[Direction, asyncio.Event] = {"up": asyncio.Event(), "down": asyncio.Event()}
        for gate in self.flowing.values():
            gate.set()
        self.cut = False
        self.replies_left = 0

    def take_cut(self) -> bool:
        cut, self.cut = self.cut, False
        return cut

    def take_reply(self) -> bool:
        """Count a reply; whether it is the one to be swallowed."""
        self.replies_left -= self.replies_left > 0
        return self.replies_left == 0


class _Reset(Exception):
    """The proxy is to reset this connection."""


class _Link:
    """One connection through the proxy."""

    def __init__(self, faults: _Faults, client: socket.socket) -> None:
        self.resets = False
        self.subscriber = False
        self._faults = faults
        self._client = client
        self._server = socket.socket()
        self._replies: Reader | None = None
        self._tail: bytes | None = None

    async def run(self, upstream: tuple[str, int]) -> None:
        """Forward until both sides have ended or one was reset; then the other one is reset too."""
        loop = asyncio.get_running_loop()
        try:
            for end in (self._client, self._server):
                end.setblocking(False)  # noqa: FBT003  # named so by the socket module
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(self._server, upstream)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._forward("up", self._client, self._server))
                both.create_task(self._forward("down", self._server, self._client))
        except* (OSError, _Reset):
            self.resets = True

    def close(self) -> None:
        """Let go of both sockets."""
        for end in (self._client, self._server):
            if self.resets:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            end.close()

    async def _forward(self, direction: Direction, source: socket.socket, target: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while chunk := await loop.sock_recv(source, CHUNK):
            whole = len(chunk)
            chunk = self._going_up(chunk) if direction == "up" else self._coming_down(chunk)
            await asyncio.sleep(self._faults.seconds)
            await self._faults.flowing[direction].wait()
            await self._send(target, chunk)
            if len(chunk) < whole:
                raise _Reset
        await self._faults.flowing[direction].wait()
        target.shutdown(socket.SHUT_WR)

    async def _send(self, target: socket.socket, chunk: bytes) -> None:
        loop = asyncio.get_running_loop()
        while chunk and (rate := self._faults.rate) is not None:
            step = max(1, int(rate * THROTTLE_STEP))
            await loop.sock_sendall(target, chunk[:step])
            await asyncio.sleep(len(chunk[:step]) / rate)
            chunk = chunk[step:]
        await loop.sock_sendall(target, chunk)

    def _going_up(self, chunk: bytes) -> bytes:
        """What of a chunk is to be forwarded. Also finds out which kind of connection this is."""
        if self._tail is None:
            self._tail = b""
            if chunk.startswith(b"*"):  # so every command to a Redis begins, and nothing a browser sends
                self._replies = Reader(notEnoughData=NONE_YET)
        if self._replies is not None and not self.subscriber:
            self._tail += chunk
            self.subscriber = SUBSCRIBE.search(self._tail) is not None
            self._tail = self._tail[-LONGEST_SUBSCRIBE:]
        return chunk[: len(chunk) // 2] if self._faults.take_cut() else chunk

    def _coming_down(self, chunk: bytes) -> bytes:
        """What of a chunk is to be forwarded: all of it, or what comes before the reply to be swallowed."""
        if self._replies is None or self.subscriber:
            return chunk
        before = at = 0
        for line in LINE.findall(chunk):
            self._replies.feed(line)
            at += len(line)
            while self._replies.gets() is not NONE_YET:
                if self._faults.replies_left and self._faults.take_reply():
                    return chunk[:before]
                before = at
        return chunk
