"""Workers of one deployment, and many sessions that stream: what is asked of them while workers come and go."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.process import is_running
from tests.support.server import ParleyServer
from tests.support.wire import Frame, WireClient, ends, is_a, placed

STREAM = """
import asyncio
import app as cl

@cl.on_message
async def main(message):
    answer = cl.Message()
    pieces = int(message.content) if cl.context.turn.attempt == 1 else 20
    for k in range(pieces):
        await answer.stream_token(f"{k} ")
        await asyncio.sleep(0.05)
    await answer.send()
"""
"""An agent that says as many numbers as it is told, 20 a second; a next attempt only a second long."""

PATIENCE = 30.0


@dataclass
class Place:
    """Where a client may connect: a worker's name, its process and its address."""

    name: str
    pid: int
    url: str

    async def connect(self, **hello: object) -> WireClient:
        """A welcomed client of this very worker: of several on one port the kernel takes whom it likes."""
        while True:
            client = await WireClient.connect(self.url)
            if (await client.hello(**hello))["worker"] == self.name:
                return client
            await client.close()


def places_of(server: ParleyServer) -> list[Place]:
    """The workers of a server that have said in its log that they started, and that still run."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    started = [line for line in lines if line.get("event") == "worker_started"]
    return [Place(line["worker"], line["pid"], server.ws_url) for line in started if is_running(line["pid"])]


class Watched:
    """A session whose turn runs at one worker, and a client that watches it at another."""

    def __init__(self, talker: WireClient, watcher: WireClient, turn: str) -> None:
        self.talker, self.watcher, self.turn = talker, watcher, turn

    @classmethod
    async def start(cls, owner: Place, elsewhere: Place, pieces: int) -> Watched:
        """Begin a turn and wait until it is seen from elsewhere."""
        talker = await owner.connect(agent="stream")
        watcher = await elsewhere.connect(session=talker.welcome["session"])
        await talker.count("message", content=str(pieces))
        turn = (await talker.collect(is_a("ack"), PATIENCE))[-1]["turn"]
        await watcher.collect(lambda frame: "1 " in str(frame), PATIENCE)
        return cls(talker, watcher, turn)

    async def next_attempt(self) -> float:
        """The time at which the watcher sees the first event of a second attempt."""
        await self.watcher.collect(lambda frame: frame.get("attempt") == 2, PATIENCE)
        return asyncio.get_running_loop().time()

    async def end(self) -> Frame:
        """The frame that ends the turn, as the watcher has it or will have it."""
        done = [frame for frame in self.watcher.frames if ends(self.turn)(frame)]
        return done[0] if done else (await self.watcher.collect(ends(self.turn), PATIENCE))[-1]

    async def close(self) -> None:
        await asyncio.gather(self.talker.drop(), self.watcher.drop())

    def ended(self) -> int:
        """How often the turn has ended so far."""
        last = {"RUN_FINISHED", "RUN_ERROR"}
        return sum(p.event["type"] in last and p.turn == self.turn for p in placed(self.watcher.frames))


async def watched(owner: Place, others: Sequence[Place], count: int, pieces: int) -> list[Watched]:
    """Sessions of one owner, watched at the others in turn."""
    starts = (Watched.start(owner, others[number % len(others)], pieces) for number in range(count))
    return list(await asyncio.gather(*starts))


async def next_attempts(sessions: Sequence[Watched], pid: int, signal: int) -> list[float]:
    """Send the owner a signal; the seconds from then to each session's next attempt."""
    began = asyncio.get_running_loop().time()
    os.kill(pid, signal)
    seen = await asyncio.gather(*(session.next_attempt() for session in sessions))
    return [time - began for time in seen]


def figures(seconds: Sequence[float]) -> dict[str, float]:
    """How many samples there are, their median, the bound that 99 % keep, and the largest."""
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return {
        "samples": len(ordered),
        "p50": round(statistics.median(ordered), 3),
        "p99": round(p99, 3),
        "max": round(ordered[-1], 3),
    }
