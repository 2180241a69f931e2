"""Three workers are restarted one after the other while sixty clients talk: nobody loses anything, or much time."""

from __future__ import annotations

import asyncio
import json
import random
import sys

import pytest

from tests.acceptance.fleet import figures
from tests.acceptance.roaming import Balancer, Roamer
from tests.conftest import StartServer
from tests.support.valkey import ValkeyProcess
from tests.support.wire import assert_gapless, assert_turns_end_once, placed, transcript

CLIENTS = 60
BACK_WITHIN = 2.0
STREAM = """
import asyncio
import app as cl

@cl.on_message
async def main(message):
    answer = cl.Message()
    for k in range(int(message.content)):
        await answer.stream_token(f"{k} ")
        await asyncio.sleep(0.1)
    await answer.send()
"""


def words() -> str:
    """How many pieces to ask for: turns of up to three seconds, far less than a drain waits."""
    return str(random.randrange(30))


@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_restarts_one_after_the_other_under_load(
    valkey: ValkeyProcess, server: StartServer, capsys: pytest.CaptureFixture[str]
) -> None:
    env = {"REDIS_URL": valkey.url}
    servers = [server({"stream": STREAM}, env=env, program=("app",)) for _ in range(3)]
    balancer = Balancer(servers)
    balancing = asyncio.create_task(balancer.run())
    roamers = [Roamer(balancer.pick, f"roamer-{number:03d}") for number in range(CLIENTS)]
    over = asyncio.Event()
    async with asyncio.TaskGroup() as living:
        for roamer in roamers:
            living.create_task(roamer.live(words, over))
        await asyncio.sleep(2)
        for each in servers:
            await asyncio.to_thread(each.restart)
            await asyncio.sleep(2)
        over.set()
    balancing.cancel()
    absences = [seconds for roamer in roamers for seconds in roamer.absences]
    measured = figures(absences) | {"turns": sum(len(roamer.turns) for roamer in roamers)}
    with capsys.disabled():
        sys.stdout.write(f"\nrolling restart, seconds away: {json.dumps(measured)}\n")
    for roamer in roamers:
        assert_untouched(roamer)
    assert {code for roamer in roamers for code in roamer.codes} == {1012}
    assert measured["max"] < BACK_WITHIN, measured


def assert_untouched(roamer: Roamer) -> None:
    """Every turn ended well, once, in its first attempt, and every event came once."""
    assert_gapless(roamer.frames)
    assert_turns_end_once(roamer.frames)
    assert not [frame for frame in roamer.frames if frame["type"] in {"reset", "error"}]
    every = list(placed(roamer.frames))
    assert {place.attempt for place in every} == {1}
    assert [place.turn for place in every if place.event["type"] == "RUN_FINISHED"] == list(roamer.turns)
    said = [(content, "".join(f"{k} " for k in range(int(content)))) for content in roamer.turns.values()]
    lines = [line for asked, answer in said for line in (("user", asked), ("assistant", answer))]
    assert transcript(roamer.frames) == lines
