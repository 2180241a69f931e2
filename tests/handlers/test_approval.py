"""The approving agent is killed between and inside its steps, again and again, and does each of them once."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.wire import Frame, WireClient, assert_gapless, assert_turns_end_once, ends, is_a, placed, transcript

KILLS = 20
STEPS = 12


def asks(frame: Frame) -> list[str]:
    return [p.event["value"]["id"] for p in placed([frame]) if p.event.get("name") == "parley.ask"]


def shows_ask(frame: Frame) -> bool:
    return bool(asks(frame))


@pytest.mark.timeout(400)
async def test_twenty_kills_and_each_step_once(server: StartServer, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    # each attempt that dies counts against the turn, and here nearly all do
    env = {"APPROVAL_LEDGER": str(ledger), "PARLEY_TURN_MAX_ATTEMPTS": "100", "PARLEY_DEFAULT_AGENT": "approval"}
    approval = server(env=env)
    chance = random.Random(5)
    plan = [f"thing {number}" for number in range(1, STEPS + 1)]

    client = await WireClient.connect(approval.ws_url)
    session = (await client.hello(client="client-one"))["session"]
    await client.count("message", content="; ".join(plan))
    turn = (await client.collect(is_a("ack")))[-1]["turn"]
    (ask,) = asks((await client.collect(shows_ask))[-1])
    frames: list[Frame] = []

    async def killed(client: WireClient) -> WireClient:
        frames.extend(client.frames)
        await asyncio.to_thread(approval.kill_group)
        await asyncio.to_thread(approval.start)
        again = await WireClient.connect(approval.ws_url)
        last = list(placed(frames))[-1]
        await again.hello(client="client-one", session=session, since={"seq": last.seq, "mark": last.mark})
        return again

    client = await killed(client)  # while it waits for the answer: it asks again
    (ask,) = asks((await client.collect(shows_ask, within=30))[-1])
    await client.count("answer", ask=ask, value="approve")
    await client.collect(is_a("ack"))
    for _ in range(KILLS - 1):
        await asyncio.sleep(chance.uniform(0, 0.25))  # a kill comes when it comes: between steps, and inside them
        client = await killed(client)
        await client.collect(lambda frame: "RUN_STARTED" in str(frame), within=30)
    await client.collect(ends(turn), within=60)
    frames += client.frames
    assert ledger.read_text().splitlines() == [f"{turn} {n} {what}" for n, what in enumerate(plan, 1)]
    assert_gapless(frames)
    assert_turns_end_once(frames)
    said = transcript(frames)
    assert said[-1] == ("assistant", "\n".join(f"{n}. {what}: done" for n, what in enumerate(plan, 1)))
    assert [line for line in said if line[1].startswith("My plan:")] == said[1:2]
    await client.close()
