"""A value that cannot be kept: the log warns once, it works on its worker, and it is absent after a takeover."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from app import session
from app.runtime import runner
from app.store import keys
from tests.conftest import StartServer
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk
from tests.support.server import ParleyServer
from tests.support.valkey import ValkeyProcess
from tests.support.wire import WireClient, ends, is_a, transcript

HOLDER = """
import threading
import app as cl

@cl.on_message
async def main(message: cl.Message):
    if message.content == "set":
        cl.user_session["lock"] = threading.Lock()
        cl.user_session["kept"] = {"n": 1}
    elif message.content == "again":
        cl.user_session["lock"] = threading.Lock()
        await cl.user_session.commit()
    elif message.content == "other":
        cl.user_session["event"] = threading.Event()
    try:
        lock = cl.user_session["lock"]
    except cl.SessionStateError as error:
        await cl.Message(f"{'lock' in cl.user_session} {cl.user_session['kept']} {error}").send()
    else:
        await cl.Message(f"{type(lock).__name__} {cl.user_session['kept']}").send()
"""


def warnings(server: ParleyServer) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "state_kept_on_this_worker_only"]


async def said(client: WireClient, content: str) -> str:
    await client.count("message", content=content)
    turn = (await client.collect(is_a("ack", n=client.n)))[-1]["turn"]
    await client.collect(ends(turn))
    return transcript(client.frames)[-1][1]


async def test_it_warns_once_works_here_and_is_absent_elsewhere(valkey: ValkeyProcess, server: StartServer) -> None:
    one = server({"holder": HOLDER}, env={"REDIS_URL": valkey.url})
    two = server({"holder": HOLDER}, env={"REDIS_URL": valkey.url})
    client = await WireClient.connect(one.ws_url)
    session_id = (await client.hello())["session"]
    for content in ("set", "get", "again", "get"):
        assert await said(client, content) == "lock {'n': 1}"
    (warned,) = warnings(one)
    assert (warned["level"], warned["key"], warned["type"]) == ("warning", "lock", "lock")
    assert warned["session"] == session_id
    await said(client, "other")
    assert [line["key"] for line in warnings(one)] == ["lock", "event"]

    await asyncio.to_thread(one.kill_group)
    await client.close()
    there = await WireClient.connect(two.ws_url)
    await there.hello(session=session_id, since=client.since)
    words = await said(there, "get")
    assert words.startswith("True {'n': 1} user_session['lock'] was on another worker")
    assert "on_chat_resume" in words
    assert await said(there, "set") == "lock {'n': 1}"
    assert [line["key"] for line in warnings(two)] == ["lock"]
    await there.close()


async def test_it_stays_within_reach_of_whoever_is_attached_anywhere(
    valkey: ValkeyProcess, server: StartServer
) -> None:
    one = server({"holder": HOLDER}, env={"REDIS_URL": valkey.url})
    two = server({"holder": HOLDER}, env={"REDIS_URL": valkey.url})
    client = await WireClient.connect(one.ws_url)
    session_id = (await client.hello())["session"]
    await said(client, "set")
    other = await WireClient.connect(two.ws_url)
    await other.hello(session=session_id)
    assert await said(other, "get") == "lock {'n': 1}"
    await client.close()
    assert await said(other, "get") == "lock {'n': 1}"
    await asyncio.to_thread(one.terminate)
    assert "on_chat_resume" in await said(other, "get"), "a server that is asked to end gives it up"
    await other.close()


KEEPER = """
@cl.on_message
async def main(message):
    if message.content == "set":
        cl.user_session["lock"] = asyncio.Lock()
    elif message.content == "delete":
        del cl.user_session["lock"]
    await cl.Message(str("lock" in cl.user_session)).send()
"""


async def owner_of(talk: Talk, valkey: ValkeyProcess) -> str:
    async with valkey.async_client() as redis:
        return str(await redis.hget(keys.meta(talk.session), "owner"))


async def test_the_lease_is_kept_while_someone_is_attached_and_no_longer(
    worker: Start, shared_valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "REST_SECONDS", 0.05)
    made = await worker(KEEPER)
    talk = await Talk.start(made)
    await talk.ask("nothing")
    await made.idle()
    await talk.ask("set")
    await asyncio.sleep(0.2)
    assert await owner_of(talk, shared_valkey) == made.name
    await talk.cancel()
    await talk.ask("still")
    await talk.ask("delete")
    await made.idle()
    await talk.ask("set")
    made.store.unlisten(talk.session, talk)
    await made.idle()
    assert await owner_of(talk, shared_valkey) == ""


async def test_a_resting_owner_shows_pushes_hears_cancels_and_ends(worker: Start, shared_valkey: ValkeyProcess) -> None:
    made = await worker(KEEPER)
    talk = await Talk.start(made)
    await talk.ask("set")
    await session(talk.session).send("news")
    await talk.until(lambda: "news" in str(talk.frames))
    turn = await talk.say("x")
    await talk.cancel(turn)
    await talk.done(turn)
    assert await owner_of(talk, shared_valkey) == made.name
    await talk.end()
    await asyncio.wait_for(talk.is_over.wait(), 10)
    await made.idle()


async def test_a_drain_does_not_wait_for_a_resting_owner(worker: Start, shared_valkey: ValkeyProcess) -> None:
    made = await worker(KEEPER)
    talk = await Talk.start(made)
    await talk.ask("set")
    while made.supervisor._runners[talk.session]._news is None:  # until it rests
        await asyncio.sleep(0.01)
    async with asyncio.timeout(20):
        await made.supervisor.drain(60)
    assert await owner_of(talk, shared_valkey) == ""
