"""Many connections on one worker while a handler blocks."""

from __future__ import annotations

import asyncio

from tests.conftest import StartServer
from tests.support.wire import WireClient, ends, is_a

BLOCKS = """
import time
import app as cl

@cl.on_message
def main(message):
    time.sleep(3)
"""
ECHO = """
import app as cl

@cl.on_message
async def main(message):
    await cl.Message("Received: " + message.content).send()
"""
CONNECTIONS = 500


async def test_a_blocking_handler_holds_nobody_up(server: StartServer) -> None:
    both = server({"blocks": BLOCKS, "echo": ECHO})
    idle = [await WireClient.connect(both.ws_url) for _ in range(CONNECTIONS)]
    await asyncio.gather(*(client.hello(agent="echo") for client in idle))
    blocked = await WireClient.connect(both.ws_url)
    await blocked.hello(agent="blocks")
    await blocked.count("message", content="x")
    await blocked.collect(is_a("ack"))
    talker = idle[0]
    answered = 0
    while not any(ends()(frame) for frame in blocked.frames):
        await talker.count("message", content="ping")
        # far under what the blocked handler takes: answers come while it sleeps, many of them
        await talker.collect(ends())
        answered += 1
        try:
            await blocked.receive(0.001)
        except TimeoutError:
            continue
    assert answered > 30
    await asyncio.gather(*(client.close() for client in [*idle, blocked]))
