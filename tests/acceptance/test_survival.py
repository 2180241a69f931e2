"""The server is killed in mid-stream and started again on its data: nothing that was promised is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from tests.conftest import StartServer
from tests.support.server import ParleyServer
from tests.support.wire import Frame, WireClient, assert_gapless, ends, is_a, placed, transcript

STREAM = """
import asyncio
import app as cl

@cl.on_message
async def main(message):
    cl.user_session["turns"] = cl.user_session.get("turns", 0) + 1
    answer = cl.Message()
    for k in range(40):
        await answer.stream_token(f"{message.content}:{cl.user_session['turns']}:{k} ")
        await asyncio.sleep(0.01)
    await answer.send()
"""


def answer(content: str, turn: int) -> str:
    return "".join(f"{content}:{turn}:{k} " for k in range(40))


async def resume(server: ParleyServer, client: str, session: str, since: Frame) -> WireClient:
    connection = await WireClient.connect(server.ws_url)
    await connection.hello(client=client, session=session, since=since)
    return connection


@pytest.mark.timeout(400)
@pytest.mark.parametrize("store_too", [False, True], ids=("server", "server and store"))
async def test_kills_in_mid_stream_twenty_times_in_a_row(server: StartServer, store_too: bool) -> None:  # noqa: FBT001
    stream = server({"stream": STREAM})
    frames = []
    client = await WireClient.connect(stream.ws_url)
    session = (await client.hello(client="client-one"))["session"]
    rounds = 10 if store_too else 20
    for number in range(1, 2 * rounds, 2):
        first, queued = f"r{number}", f"r{number + 1}"
        await client.count("message", content=first)
        turn = (await client.collect(is_a("ack")))[-1]["turn"]
        await client.collect(shows(f"{first}:{number}:"))
        await client.count("message", content=queued)
        later = (await client.collect(is_a("ack", n=client.n)))[-1]["turn"]
        frames += client.frames
        await asyncio.to_thread(stream.kill_group)
        if store_too:
            await asyncio.to_thread(stream.kill_store)
        await asyncio.to_thread(stream.start)
        client = await resume(stream, "client-one", session, since(frames))
        assert client.welcome["acked"] == number + 1
        await client.collect(ends(turn), within=30)
        await client.collect(ends(later), within=30)
    frames += client.frames
    assert_gapless(frames)
    said = [("user", f"r{n}") for n in range(1, 2 * rounds + 1)]
    answers = [("assistant", answer(f"r{n}", n)) for n in range(1, 2 * rounds + 1)]
    assert transcript(frames) == [line for pair in zip(said, answers, strict=True) for line in pair]
    every = [p.turn for p in placed(frames) if p.event["type"] in {"RUN_FINISHED", "RUN_ERROR"}]
    assert len(every) == len(set(every)) == 2 * rounds
    attempts = {p.turn: p.attempt for p in placed(frames)}
    assert sorted(attempts.values()) == [1] * rounds + [2] * rounds
    await client.close()


def shows(text: str) -> Callable[[Frame], bool]:
    return lambda frame: text in str(frame)


def since(frames: list[Frame]) -> Frame:
    seen = list(placed(frames))
    return {"seq": seen[-1].seq, "mark": seen[-1].mark}
