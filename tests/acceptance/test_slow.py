"""A client stops reading while much is produced for it: it costs the worker nothing, nobody notices, it resumes."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.acceptance.fleet import figures
from tests.conftest import StartServer
from tests.support.process import open_sockets
from tests.support.server import ParleyServer
from tests.support.wire import Frame, WireClient, assert_gapless, ends, is_a, placed

FLOOD = """
import app as cl

PIECE = "0123456789abcdef" * 2048

@cl.on_message
async def main(message):
    for k in range(int(message.content) * 32):
        await cl.Message(f"{k} {PIECE}").send()
"""
ECHO = """
import app as cl

@cl.on_message
async def main(message):
    await cl.Message(message.content).send()
"""
MEGABYTES = 100
GROWTH = 5 * 1024
"""KB by which it may cost more to be read slowly than to be read."""

GONE_WITHIN = 15.0
"""Seconds after which a socket nobody reads must be gone. It stands still as soon as the kernel's buffers are full."""

TALK_EVERY = 0.02
"""Seconds between an answer to another session and its next message: far fewer frames than a client may send."""

PATIENCE = 90.0


class Flooded:
    """A server that floods one client while another one talks to it. What is measured begins with `measure`."""

    def __init__(self, server: ParleyServer, client: WireClient, talker: WireClient) -> None:
        self.server, self.client, self.talker = server, client, talker
        self._proc = Path(f"/proc/{server.pid}")
        self._before = self._kb("VmRSS")
        self._sockets = open_sockets(server.pid)
        self._trips: list[float] = []
        (self._proc / "clear_refs").write_text("5")  # the high-water mark begins anew

    @property
    def growth(self) -> int:
        """KB by which the worker was ever larger than before the flood."""
        return self._kb("VmHWM") - self._before

    @property
    def trips(self) -> dict[str, float]:
        """How long the other session waited for its answers."""
        return figures(self._trips)

    async def talk(self, until: asyncio.Task[None]) -> None:
        """Round trips of another session, one after the other, until a task is done. Raises: what the task raised."""
        loop = asyncio.get_running_loop()
        while not until.done():
            began = loop.time()
            await self.talker.count("message", content="ping")
            await self.talker.collect(ends())
            self._trips.append(loop.time() - began)
            await asyncio.sleep(TALK_EVERY)
        await until

    async def lose_a_socket(self) -> None:
        """Wait until the worker has one socket less."""
        while open_sockets(self.server.pid) >= self._sockets:
            await asyncio.sleep(0.1)

    def _kb(self, what: str) -> int:
        found = re.search(rf"{what}:\s+(\d+) kB", (self._proc / "status").read_text())
        assert found
        return int(found[1])


@asynccontextmanager
async def flooded(start: StartServer) -> AsyncIterator[Flooded]:
    server = start({"echo": ECHO, "flood": FLOOD}, program=("app",))
    client = await WireClient.connect(server.ws_url)
    talker = await WireClient.connect(server.ws_url)
    await client.hello(agent="flood", client="flooded-one")
    await talker.hello(agent="echo")
    for warm, content in ((client, "4"), (talker, "ping")):
        await warm.count("message", content=content)
        await warm.collect(ends(), PATIENCE)
    try:
        yield Flooded(server, client, talker)
    finally:
        await asyncio.gather(client.drop(), talker.drop())


async def read_all(client: WireClient) -> None:
    """Read to the end of the turn, and keep nothing of it."""
    while not ends()(await client.receive(PATIENCE)):
        client.frames.clear()
        client.raw.clear()


@pytest.mark.alone
@pytest.mark.timeout(400)
async def test_who_stops_reading_costs_no_memory_and_resumes(
    server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with flooded(server) as flood:
        await flood.client.count("message", content=str(MEGABYTES))
        await flood.talk(asyncio.create_task(read_all(flood.client)))
        read, beside_a_reader = flood.growth, flood.trips
    async with flooded(server) as flood:
        client = flood.client
        await client.count("message", content=str(MEGABYTES))
        await client.collect(is_a("ack"))
        client._socket.transport.pause_reading()
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(PATIENCE):
            await flood.talk(asyncio.create_task(flood.lose_a_socket()))
        gone, unread, beside = loop.time() - began, flood.growth, flood.trips
        since = client.since
        back = await WireClient.connect(flood.server.ws_url)
        await back.hello(client="flooded-one", session=client.welcome["session"], since=since)
        await read_last(back)
        assert_gapless(back.frames, after=since["seq"])
        log = flood.server.log.read_text().splitlines()
        await back.close()
    measured = {
        "read_kb": read,
        "unread_kb": unread,
        "gone_s": round(gone, 2),
        "beside_a_reader": beside_a_reader,
        "beside": beside,
    }
    with capsys.disabled():
        sys.stdout.write(f"\na client that does not read: {json.dumps(measured)}\n")
    codes = [json.loads(line).get("code") for line in log if "connection_closed" in line]
    assert 4431 in codes, (codes, measured)
    assert unread < read + GROWTH, measured
    assert gone < GONE_WITHIN, measured
    # another session waits for its answers as long as it does beside a client that takes its flood in
    assert beside["p50"] < 1.5 * beside_a_reader["p50"] + 0.01, measured
    assert beside["p99"] < 1.5 * beside_a_reader["p99"] + 0.05, measured


async def read_last(client: WireClient) -> None:
    """Read to the end of the turn, which is in the log, or in the conversation as it is now."""
    while not is_over(await client.receive(PATIENCE)):
        pass


def is_over(frame: Frame) -> bool:
    if frame["type"] == "reset":
        return not any(thing["kind"] == "turn" for thing in frame["snapshot"]["open"])
    return any(place.event["type"] == "RUN_FINISHED" for place in placed([frame]))
