"""Several workers on one port, and a server that starts anew when a handler changes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

from tests.conftest import StartServer
from tests.support.process import group_members, is_running, wait_until
from tests.support.server import ParleyServer
from tests.support.wire import WireClient, assert_gapless, ends, is_a, transcript

STREAM = """
import asyncio
import app as cl

@cl.on_message
async def main(message):
    answer = cl.Message()
    for k in range(60):
        await answer.stream_token(f"{k} ")
        await asyncio.sleep(0.02)
    await answer.send()
"""
ANSWER = "".join(f"{k} " for k in range(60))


def workers_of(server: ParleyServer) -> dict[str, int]:
    """The process of each worker that has said in the log that it started."""
    lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    return {line["worker"]: line["pid"] for line in lines if line.get("event") == "worker_started"}


async def connect_to(server: ParleyServer, worker: str, **hello: object) -> WireClient:
    """A connection to this worker: the kernel gives out new ones as it likes."""
    while True:
        client = await WireClient.connect(server.ws_url)
        if (await client.hello(**hello))["worker"] == worker:
            return client
        await client.close()


async def test_a_killed_worker_is_replaced_and_its_turn_goes_on_elsewhere(server: StartServer) -> None:
    both = server({"stream": STREAM}, args=("--workers", "2"))
    await asyncio.to_thread(wait_until, lambda: len(workers_of(both)) == 2, "two workers started")
    first, second = workers_of(both)
    owner = await connect_to(both, first)
    session = owner.welcome["session"]
    watcher = await connect_to(both, second, session=session)
    await owner.count("message", content="go")
    turn = (await owner.collect(is_a("ack")))[-1]["turn"]
    await watcher.collect(lambda frame: "10 " in str(frame))
    os.kill(workers_of(both)[first], signal.SIGKILL)
    await watcher.collect(ends(turn), within=30)
    assert_gapless(watcher.frames)
    assert transcript(watcher.frames) == [("user", "go"), ("assistant", ANSWER)]
    assert watcher.frames[-1]["attempt"] == 2
    await asyncio.to_thread(wait_until, lambda: len(workers_of(both)) == 3, "a third worker took its place")
    await watcher.close()


async def test_an_input_at_one_worker_reaches_the_owner_at_another(server: StartServer) -> None:
    both = server({"stream": STREAM}, args=("--workers", "2"))
    await asyncio.to_thread(wait_until, lambda: len(workers_of(both)) == 2, "two workers started")
    first, second = workers_of(both)
    owner = await connect_to(both, first)
    other = await connect_to(both, second, session=owner.welcome["session"])
    await owner.count("message", content="go")
    turn = (await owner.collect(is_a("ack")))[-1]["turn"]
    await other.collect(lambda frame: "5 " in str(frame))
    await other.count("cancel", turn=turn)
    for client in (owner, other):
        last = (await client.collect(ends(turn)))[-1]["events"][-1]
        assert last["code"] == "cancelled"
    assert owner.raw_events == other.raw_events
    await asyncio.gather(owner.close(), other.close())


def test_workers_end_with_their_parent(server: StartServer) -> None:
    both = server(args=("--workers", "2"))
    members = group_members(both.pid)
    assert len(members) >= 3
    os.kill(both.pid, signal.SIGKILL)
    wait_until(lambda: not any(is_running(pid) for pid in members), "no worker is left")
    both.kill_group()


async def test_reload_starts_anew_when_a_handler_changes(server: StartServer, tmp_path: Path) -> None:
    handlers = tmp_path / "changing"
    handlers.mkdir()
    source = "import app as cl\n@cl.on_message\nasync def main(message):\n    await cl.Message('WORD').send()\n"
    (handlers / "agent.py").write_text(source.replace("WORD", "before"))
    reloading = server(handlers, args=("--reload",))
    client = await WireClient.connect(reloading.ws_url)
    session = (await client.hello())["session"]
    await client.count("message", content="x")
    await client.collect(ends())
    (handlers / "agent.py").write_text(source.replace("WORD", "after"))
    assert (await client.closed(20))[0] == 1012
    await asyncio.to_thread(wait_until, reloading.is_ready, "it is back")
    again = await WireClient.connect(reloading.ws_url)
    await again.hello(session=session, since=client.since)
    await again.count("message", content="y")
    await again.collect(ends())
    assert transcript(again.frames) == [("user", "y"), ("assistant", "after")]
    await again.close()
