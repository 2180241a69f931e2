"""What clients of a worker see when it is told to end: who leaves when, and what becomes of what they say meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal

from tests.acceptance.fleet import STREAM, places_of
from tests.conftest import StartServer
from tests.support.process import is_running, wait_until
from tests.support.valkey import ValkeyProcess
from tests.support.wire import WireClient, assert_gapless, ends, is_a, transcript


def answer(pieces: int) -> str:
    return "".join(f"{k} " for k in range(pieces))


async def test_idle_clients_leave_at_once_and_the_others_after_their_turns(
    valkey: ValkeyProcess, server: StartServer
) -> None:
    one, other = (server({"stream": STREAM}, env={"REDIS_URL": valkey.url}) for _ in range(2))
    idle, busy, late = [await WireClient.connect(one.ws_url) for _ in range(3)]
    await idle.hello()
    session = (await busy.hello(client="busy-one"))["session"]
    await busy.count("message", content="60")
    turn = (await busy.collect(is_a("ack")))[-1]["turn"]
    await busy.collect(lambda frame: "1 " in str(frame))

    os.kill(one.pid, signal.SIGTERM)
    assert await idle.closed() == (1012, "worker is going away")
    assert (idle.frames[-1]["type"], idle.frames[-1]["reconnect"]) == ("bye", True)
    assert not one.is_ready()
    # let in before, and silent until now; and one that comes when it is too late
    assert (await late.closed())[0] == 1012
    later = await WireClient.connect(one.ws_url)
    assert (await later.closed())[0] == 1012
    # what is said here in the meantime waits for the turn, and is not lost
    await busy.count("message", content="3")
    second = (await busy.collect(is_a("ack", n=2)))[-1]["turn"]
    assert not any(ends(turn)(frame) for frame in busy.frames)
    assert await busy.closed() == (1012, "worker is going away")
    assert any(ends(turn)(frame) for frame in busy.frames)

    again = await WireClient.connect(other.ws_url)
    await again.hello(client="busy-one", session=session, since=busy.since)
    await again.collect(ends(second))
    frames = [*busy.frames, *again.frames]
    assert_gapless(frames)
    assert transcript(frames) == [("user", "60"), ("assistant", answer(60)), ("user", "3"), ("assistant", answer(3))]
    assert {frame["attempt"] for frame in frames if frame["type"] == "events"} == {1}
    await again.close()


async def test_a_turn_that_outlasts_the_drain_goes_on_elsewhere(valkey: ValkeyProcess, server: StartServer) -> None:
    env = {"REDIS_URL": valkey.url, "PARLEY_DRAIN_TIMEOUT": "0.5", "PARLEY_TURN_MAX_ATTEMPTS": "1"}
    one, other = (server({"stream": STREAM}, env=env) for _ in range(2))
    client = await WireClient.connect(one.ws_url)
    session = (await client.hello(client="client-one"))["session"]
    await client.count("message", content="1000")
    turn = (await client.collect(is_a("ack")))[-1]["turn"]
    await client.collect(lambda frame: "1 " in str(frame))
    os.kill(one.pid, signal.SIGTERM)
    assert (await client.closed())[0] == 1012
    again = await WireClient.connect(other.ws_url)
    await again.hello(client="client-one", session=session, since=client.since)
    end = (await again.collect(ends(turn)))[-1]
    assert (end["attempt"], end["events"][-1]["type"]) == (2, "RUN_FINISHED")  # and is no death: one would be too many
    assert_gapless([*client.frames, *again.frames])
    assert transcript([*client.frames, *again.frames]) == [("user", "1000"), ("assistant", answer(20))]
    await again.close()


async def test_one_worker_of_several_that_is_ended_is_replaced(server: StartServer) -> None:
    both = server({"stream": STREAM}, args=("--workers", "2"))
    await asyncio.to_thread(wait_until, lambda: len(places_of(both)) == 2, "two workers run")
    ended, _ = places_of(both)
    client = await ended.connect()
    os.kill(ended.pid, signal.SIGTERM)
    assert (await client.closed())[0] == 1012
    await asyncio.to_thread(wait_until, lambda: not is_running(ended.pid), "it has ended")
    await asyncio.to_thread(wait_until, lambda: len(places_of(both)) == 2, "another took its place")
    said = [line for line in both.log.read_text().splitlines() if ended.name in line]
    events = ["worker_started", "worker_draining", "worker_drained", "worker_stopped", "worker_died"]
    assert [event for event in events if any(event in line for line in said)] == events
