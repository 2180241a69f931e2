"""Clients that talk without a pause and come back after every loss, as docs/protocol.md has it.

What they are answered is known beforehand, so a word that is lost or comes twice shows.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.exceptions import WebSocketException

from tests.support.wire import Frame, WireClient, assert_gapless, assert_turns_end_once, placed, transcript

PATIENCE = 60.0
"""Seconds that a client waits for a frame before it comes again, and that it tries to come before it gives up."""

LOST = (OSError, WebSocketException)
"""How a connection ends, or does not come about."""

ENDS = frozenset({"RUN_FINISHED", "RUN_ERROR"})


class Talker:
    """One user of the agent `countdown`, who says a number, hears the answer to its end, and says the next."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._hello: dict[str, object] = {"client": secrets.token_hex(8), "token": token, "agent": "countdown"}
        self._frames: list[Frame] = []
        self._said: list[str] = []
        self._taken = 0
        self._lost_at: float | None = None
        self.ended = 0
        self.worker = ""
        self.away: list[float] = []
        """Seconds from each loss to the next welcome."""
        self.silence = 0.0
        """The most seconds between two frames while an answer was awaited."""
        self._heard_at = 0.0

    @property
    def said(self) -> int:
        """The inputs so far."""
        return len(self._said)

    @property
    def acked(self) -> int:
        """Of these, how many were acknowledged, if only by a later welcome."""
        numbers = {"ack": "n", "welcome": "acked"}
        return max(int(frame[numbers[frame["type"]]]) for frame in self._frames if frame["type"] in numbers)

    @property
    def losses(self) -> int:
        """Connections that were lost."""
        return len(self.away) + (self._lost_at is not None)

    async def talk(self, stop: asyncio.Event) -> None:
        """Talk until `stop`, and hear the last answer to its end."""
        while not stop.is_set() or self.ended < self.said:
            try:
                client = await self._come()
            except LOST:
                assert self._lost_at is None or time.monotonic() < self._lost_at + PATIENCE, "there is no way back"
                await asyncio.sleep(random.uniform(0.1, 0.5))
                continue
            try:
                await self._converse(client, stop)
            except LOST:
                self._lost_at = time.monotonic()
            finally:
                await client.drop()

    async def _come(self) -> WireClient:
        """A connection that has been welcomed."""
        client = await WireClient.connect(self._url)
        client.frames = self._frames  # of all connections, so that none may begin with a gap
        try:
            since = {"since": client.since} if self._frames else {}
            await client.send("hello", **self._hello, **since)
            while (welcome := await client.receive(PATIENCE))["type"] != "welcome":
                pass
        except LOST:
            await client.drop()
            raise
        self.worker = welcome["worker"]
        self._hello = {name: value for name, value in self._hello.items() if name != "agent"}
        self._hello["session"] = welcome["session"]
        if self._lost_at is not None:
            self.away.append(time.monotonic() - self._lost_at)
            self._lost_at = None
        self._taken = welcome["acked"]
        return client

    async def _converse(self, client: WireClient, stop: asyncio.Event) -> None:
        if self._taken < self.said:
            await self._say_last(client)
        while True:
            while self.ended < self.said:
                await self._take(client, await client.receive(PATIENCE))
                self.silence = max(self.silence, time.monotonic() - self._heard_at)
                self._heard_at = time.monotonic()
            if stop.is_set():
                return
            self._said.append(str(random.randint(10, 30)))
            self._heard_at = time.monotonic()
            await self._say_last(client)

    async def _take(self, client: WireClient, frame: Frame) -> None:
        if frame["type"] == "error":
            assert frame["code"] == "busy", frame
            await asyncio.sleep(frame.get("retry_after_ms", 100) / 1000)
            await self._say_last(client)
        elif frame["type"] == "events":
            self.ended += sum(event["type"] in ENDS for event in frame["events"])

    async def _say_last(self, client: WireClient) -> None:
        await client.send("message", n=self.said, content=self._said[-1])

    def check(self) -> None:
        """Nothing was lost: each input was acknowledged and answered once, and no event is missing or came twice."""
        assert not [frame for frame in self._frames if frame["type"] == "reset"]
        assert_gapless(self._frames)
        assert_turns_end_once(self._frames)
        assert transcript(self._frames) == [message for number in self._said for message in _exchange(number)]
        assert self.acked == self.said

    @property
    def attempts(self) -> int:
        """The most attempts that a turn took."""
        return max(event.attempt for event in placed(self._frames))


def _exchange(number: str) -> list[tuple[str, str]]:
    counted = "".join(f"{k} " for k in range(int(number), 0, -1))
    return [("user", number), ("assistant", f"{counted}Liftoff!")]


@asynccontextmanager
async def talking(talkers: list[Talker]) -> AsyncIterator[None]:
    """Let them talk for as long as the block runs, from when all have been answered once. All are checked after it."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for talker in talkers:
            group.create_task(talker.talk(stop))
        await answered_again(talkers)
        yield
        stop.set()
    for talker in talkers:
        talker.check()


async def answered_again(talkers: list[Talker]) -> None:
    """Wait until each has said something from now on and heard the answer."""
    wanted = [talker.said + 1 for talker in talkers]
    async with asyncio.timeout(2 * PATIENCE):
        while any(talker.ended < least for talker, least in zip(talkers, wanted, strict=True)):
            await asyncio.sleep(0.05)
