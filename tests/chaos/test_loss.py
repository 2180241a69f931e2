"""A store that loses a tail under clients that stay connected: each hears what it has to send again."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.support.server import ParleyServer
from tests.support.valkey import ValkeyProcess
from tests.support.wire import WireClient, ends, is_a, transcript

AGENT = {
    "stream": """
import app as cl

@cl.on_message
async def main(message):
    await cl.sleep(1)
    await cl.Message("heard").send()
"""
}


async def test_a_client_is_told_that_an_acknowledged_input_is_lost(tmp_path: Path) -> None:
    with (
        ValkeyProcess(tmp_path / "store") as valkey,
        ParleyServer(tmp_path, AGENT, env={"REDIS_URL": valkey.url}) as server,
    ):
        client = await WireClient.connect(server.ws_url)
        session = (await client.hello(client="client-one"))["session"]
        written = valkey.written()
        await client.count("message", id="m-1", content="hello")
        await client.collect(is_a("ack"))
        await asyncio.to_thread(valkey.lose, written)
        assert (await client.closed())[0] == 4409
        back = await WireClient.connect(server.ws_url)
        welcome = await back.hello(client="client-one", session=session, since=client.since)
        assert (welcome["acked"], welcome["known"]) == (0, False)
        await back.count("message", id="m-1", content="hello")
        await back.collect(ends())
        assert transcript(back.frames) == [("user", "hello"), ("assistant", "heard")]
        await back.close()
