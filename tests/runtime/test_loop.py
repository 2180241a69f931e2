"""The event loop never blocks: any blocking call of Parley's own on the loop's thread fails the test."""

from __future__ import annotations

from blockbuster import BlockingError, blockbuster_ctx

from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

BLOCKS = """
import time


@cl.on_message
async def main(message):
    try:
        time.sleep(0.01)
    except Exception as error:
        await cl.Message(type(error).__name__).send()
"""
LIVES = """
import time


wait = cl.make_async(time.sleep)

@cl.on_chat_resume
async def resume(thread): ...

@cl.on_message
async def main(message):
    cl.user_session["count"] = cl.user_session.get("count", 0) + 1
    answer = cl.Message()
    for k in range(200):
        await answer.stream_token(f"{k} ")
    await wait(0.01)
    cl.run_sync(cl.sleep(0))
    await answer.send()
"""


async def test_a_handler_that_blocks_is_found_out(worker: Start) -> None:
    talk = await Talk.start(await worker(BLOCKS))
    with blockbuster_ctx(["app"]):
        assert await talk.ask("x") == BlockingError.__name__


async def test_nothing_of_ours_blocks(worker: Start) -> None:
    first, second = await worker(LIVES, log_events=100), await worker(log_events=100)
    talk = await Talk.start(first)
    with blockbuster_ctx(["app"]):
        for _ in range(30):
            await talk.ask("x")
        turn = await talk.say("x")
        await first.die()
        await talk.move(second)
        assert (await talk.done(turn))["type"] == "RUN_FINISHED"
