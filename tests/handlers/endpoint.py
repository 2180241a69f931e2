"""A local server that speaks the streaming format of OpenAI's chat completions, as a test tells it to."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Literal, Self

BITE = 41
"""Bytes of one HTTP chunk: few enough that events, and characters, come in pieces."""


@dataclass
class Reply:
    """One answer. After `chunks`, and once `go_on` is set, come `then` and the end.

    Its end is `[DONE]`, a lost connection, or none at all: `gone` is set when the other side has closed it.
    """

    chunks: list[Any] = field(default_factory=list)
    then: list[Any] = field(default_factory=list)
    end: Literal["done", "drop", "stall"] = "done"
    status: int = 200
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    gone: asyncio.Event = field(default_factory=asyncio.Event)


class Endpoint:
    """The server. `replies` are given one after the other; `requests` are what came, `keys` under which key."""

    def __init__(self) -> None:
        self.replies: deque[Reply] = deque()
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.url = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def will(self, *replies: Reply) -> None:
        """Answer the next requests so."""
        self.replies.extend(replies)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            reply = await self._read(reader)
            await self._answer(reply, reader, writer)
        finally:
            writer.close()

    async def _read(self, reader: asyncio.StreamReader) -> Reply:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert head.startswith("POST /v1/chat/completions "), head
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head.splitlines())}
        self.requests.append(json.loads(await reader.readexactly(int(headers["content-length"]))))
        self.keys.append(headers["authorization"])
        reply = self.replies.popleft()
        reply.asked.set()
        return reply

    async def _answer(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if reply.status != 200:
            body = b'{"error": {"message": "no, and the key was sk-secret"}}'
            head = f"HTTP/1.1 {reply.status} No\r\nx-should-retry: false\r\nconnection: close\r\n"
            writer.write(f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
            return
        if reply.chunks:
            head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
            writer.write(f"{head}connection: close\r\n\r\n".encode())
            await self._stream(writer, reply.chunks)
        if reply.then:
            await reply.go_on.wait()
            await self._stream(writer, reply.then)
        if reply.end == "done":
            writer.write(_chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        elif reply.end == "stall":
            assert await reader.read() == b""
            reply.gone.set()

    async def _stream(self, writer: asyncio.StreamWriter, chunks: list[Any]) -> None:
        events = b"".join(b"data: " + json.dumps(chunk, ensure_ascii=False).encode() + b"\n\n" for chunk in chunks)
        for start in range(0, len(events), BITE):
            writer.write(_chunked(events[start : start + BITE]))
            await writer.drain()


def _chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def delta(finish: str | None = None, **members: Any) -> dict[str, Any]:
    """One chunk of the stream."""
    choice = {"index": 0, "delta": members, "finish_reason": finish}
    return {"id": "one", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}


def words(*texts: str, finish: str | None = "stop") -> list[dict[str, Any]]:
    """An answer in words, and its end."""
    end = [delta(finish)] if finish else []
    return [delta(role="assistant", content=""), *(delta(content=text) for text in texts), *end]


def piece(index: int, arguments: str = "", **members: Any) -> dict[str, Any]:
    """A piece of a tool call."""
    name = {"name": members.pop("name")} if "name" in members else {}
    return {"index": index, **members, "function": {**name, "arguments": arguments}}


def calls(*given: tuple[str, str]) -> list[dict[str, Any]]:
    """Tool calls, of a name and arguments each, in pieces of three characters that take turns."""
    first = [delta(tool_calls=[piece(n, id=f"call{n}", type="function", name=g[0])]) for n, g in enumerate(given)]
    longest = max(len(arguments) for _, arguments in given)
    rest = [
        delta(tool_calls=[piece(n, arguments[start : start + 3])])
        for start in range(0, longest, 3)
        for n, (_, arguments) in enumerate(given)
        if start < len(arguments)
    ]
    return [*first, *rest, delta("tool_calls")]
