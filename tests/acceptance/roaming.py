"""Clients that talk on, whichever worker they are sent away from, by the rules of docs/protocol.md alone."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.support.server import ParleyServer
from tests.support.wire import Frame, WireClient, ends

ASK_EVERY = 0.1
"""Seconds between two looks of the balancer at each server."""

TRY_AGAIN = 0.05
"""Seconds before a client that found nobody tries again."""


class Balancer:
    """Knows which servers say that they are ready, as a load balancer does. `run` until it is cancelled."""

    def __init__(self, servers: Sequence[ParleyServer]) -> None:
        self._ready = dict.fromkeys(servers, True)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for server in self._ready:
                group.create_task(self._watch(server))

    def pick(self) -> str:
        """The address of one that is ready; of any if none is."""
        ready = [server for server, is_ready in self._ready.items() if is_ready]
        return random.choice(ready or list(self._ready)).ws_url

    async def _watch(self, server: ParleyServer) -> None:
        while True:
            self._ready[server] = await asyncio.to_thread(server.is_ready)
            await asyncio.sleep(ASK_EVERY)


class Roamer:
    """A client that says one thing after the other and waits for each answer, over any number of connections.

    `frames` are those of all connections, `turns` the turns that ended, with what was said. `absences` are the
    seconds from each connection's end to the next welcome, `codes` what they were closed with.
    """

    def __init__(self, pick: Callable[[], str], name: str) -> None:
        self.frames: list[Frame] = []
        self.turns: dict[str, str] = {}
        self.absences: list[float] = []
        self.codes: list[int] = []
        self._pick = pick
        self._hello: dict[str, object] = {"client": name}
        self._kept: Frame | None = None
        self._turn: str | None = None
        self._client: WireClient

    async def live(self, words: Callable[[], str], over: asyncio.Event) -> None:
        """Talk until it is over, and then to the end of the last answer."""
        await self._come()
        while self._kept or not over.is_set():
            try:
                if self._kept is None:
                    await self._say(words())
                await self._hear()
            except ConnectionClosed as closed:
                await self._move(closed)
        self.frames += self._client.frames
        await self._client.close()

    async def _say(self, content: str) -> None:
        self._kept = {"n": self._client.n + 1, "content": content}
        await self._client.count("message", content=content)

    async def _hear(self) -> None:
        """Read until what was said is acknowledged and answered to the end."""
        assert self._kept is not None
        while not (self._turn and any(ends(self._turn)(frame) for frame in self._client.frames)):
            frame = await self._client.receive(30)
            if frame["type"] == "ack":
                self._turn = frame["turn"]
        self.turns[self._turn] = self._kept["content"]
        self._kept = self._turn = None

    async def _move(self, closed: ConnectionClosed) -> None:
        now = asyncio.get_running_loop().time
        began = now()
        last = self._client.frames[-1]
        self.frames += self._client.frames
        self.codes.append(closed.rcvd.code if closed.rcvd else 1006)
        await asyncio.sleep(last["after_ms"] / 1000 if last["type"] == "bye" else TRY_AGAIN)
        await self._come()
        self.absences.append(now() - began)

    async def _come(self) -> None:
        """Connect, wherever one is let in, and send again what the server has not, or not said that it has."""
        while True:
            try:
                self._client = await WireClient.connect(self._pick())
                await self._client.send("hello", **self._hello, **self._since())
                welcome = await self._client.receive()
            except (OSError, WebSocketException):
                await asyncio.sleep(TRY_AGAIN)
                continue
            if welcome["type"] == "welcome":
                break
            assert welcome["type"] == "bye", welcome
            await asyncio.sleep(welcome["after_ms"] / 1000)
        self._hello["session"] = welcome["session"]
        self._client.n = welcome["acked"]
        if self._kept is not None and self._turn is None:
            await self._client.send("message", **self._kept)
            self._client.n = self._kept["n"]

    def _since(self) -> dict[str, Frame]:
        for frame in reversed(self.frames):
            if frame["type"] == "events":
                return {"since": {"seq": frame["seq"] + len(frame["events"]) - 1, "mark": frame["mark"]}}
        return {}
