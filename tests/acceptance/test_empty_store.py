"""The store comes back without anything: nobody is left hanging, and a new conversation begins."""

from __future__ import annotations

import asyncio
import shutil
from functools import partial

from tests.acceptance.fleet import STREAM
from tests.conftest import StartServer
from tests.support.process import wait_until
from tests.support.server import ParleyServer
from tests.support.valkey import ValkeyProcess
from tests.support.wire import WireClient, ends, transcript


async def test_a_store_that_forgot_everything(server: StartServer, valkey: ValkeyProcess) -> None:
    one, other = (server({"stream": STREAM}, env={"REDIS_URL": valkey.url}) for _ in range(2))
    talker, watcher = await WireClient.connect(one.ws_url), await WireClient.connect(other.ws_url)
    session = (await talker.hello(client="talker-one"))["session"]
    await watcher.hello(session=session)
    await talker.count("message", content="1000")
    await watcher.collect(lambda frame: "1 " in str(frame))

    await asyncio.to_thread(valkey.kill)
    for each in (one, other):
        await asyncio.to_thread(wait_until, partial(_is_unready, each), "it is not ready")
    shutil.rmtree(valkey.folder / "appendonlydir")
    await asyncio.to_thread(valkey.start)
    for each in (one, other):
        await asyncio.to_thread(wait_until, each.is_ready, "it is ready again")

    for client in (talker, watcher):
        assert await client.closed(20) == (4404, "no such session or agent")
        assert (client.frames[-1]["code"], client.frames[-1]["fatal"]) == ("no_such_session", True)
    late = await WireClient.connect(other.ws_url)
    await late.send("hello", client="talker-one", session=session, since=talker.since)
    assert (await late.closed())[0] == 4404
    anew = await WireClient.connect(one.ws_url)
    assert not (await anew.hello(client="talker-one"))["known"]
    await anew.count("message", content="2")
    await anew.collect(ends())
    assert transcript(anew.frames) == [("user", "2"), ("assistant", "0 1 ")]
    await anew.close()
    said = one.log.read_text() + other.log.read_text()
    assert "lease_lost" in said  # the turn was stopped
    assert "Traceback" not in said


def _is_unready(server: ParleyServer) -> bool:
    return not server.is_ready()
