"""A crowd of clients in a process of its own: they talk, are all cut at once, and come back where they were.

`python -m tests.acceptance.crowd URL COUNT` prints the seconds until the last one was answered again, as JSON. Every
frame is held against the document when the clock has stopped.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from typing import Any

import uvloop
from websockets.asyncio.client import ClientConnection, connect

from tests.support.document import Side, assert_documented

AT_ONCE = 100
"""Clients that arrive at the same time at first. They come back all together."""

PATIENCE = 60.0


class Member:
    """One client: its name, its session and its place in the log."""

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._hello: dict[str, object] = {"type": "hello", "client": f"crowd-{number:05d}"}
        self._n = 0
        self._socket: ClientConnection
        self.said: list[tuple[Side, str]] = []
        """All frames, as the very text that went over the wire."""

    async def come(self) -> None:
        """Connect, and be welcomed with all the inputs that were acknowledged."""
        self._socket = await connect(
            self._url, compression=None, proxy=None, ping_interval=None, open_timeout=PATIENCE, max_queue=None
        )
        await self._send(self._hello)
        welcome = await self._receive()
        assert welcome["type"] == "welcome", welcome
        assert welcome["acked"] == self._n, welcome
        self._hello["session"] = welcome["session"]

    async def talk(self) -> None:
        """Say something, and hear the end of the answer; no event may come twice or be missing."""
        self._n += 1
        await self._send({"type": "message", "n": self._n, "content": "x"})
        ended = False
        while not ended:
            frame = await self._receive()
            assert frame["type"] in {"ack", "events"}, frame
            if frame["type"] == "events":
                assert frame["seq"] == self._seq + 1, f"after {self._seq}: {frame}"
                last = frame["seq"] + len(frame["events"]) - 1
                self._hello["since"] = {"seq": last, "mark": frame["mark"]}
                ended = frame["events"][-1]["type"] == "RUN_FINISHED"

    def cut(self) -> None:
        """Be gone without a word."""
        self._socket.transport.abort()

    async def _send(self, frame: dict[str, object]) -> None:
        text = json.dumps(frame)
        self.said.append(("fromClient", text))
        await self._socket.send(text)

    async def _receive(self) -> dict[str, Any]:
        text = await self._socket.recv(decode=True)
        self.said.append(("toClient", text))
        frame: dict[str, Any] = json.loads(text)
        return frame

    @property
    def _seq(self) -> int:
        since = self._hello.get("since")
        return int(since["seq"]) if isinstance(since, dict) else 0


async def crowd(url: str, count: int) -> float:
    """The seconds from the cut to the last answer."""
    members = [Member(url, number) for number in range(count)]
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(member.come() for member in members[first : first + AT_ONCE]))
        await asyncio.gather(*(member.talk() for member in members[first : first + AT_ONCE]))
    loop = asyncio.get_running_loop()
    for member in members:
        member.cut()
    began = loop.time()
    await asyncio.gather(*(_again(member) for member in members))
    took = loop.time() - began
    for member in members:
        member.cut()
    for side, text in itertools.chain.from_iterable(member.said for member in members):
        assert_documented(side, json.loads(text))
    return took


async def _again(member: Member) -> None:
    await member.come()
    await member.talk()


if __name__ == "__main__":
    uvloop.install()
    seconds = asyncio.run(crowd(sys.argv[1], int(sys.argv[2])))
    sys.stdout.write(json.dumps({"seconds": round(seconds, 2)}) + "\n")
