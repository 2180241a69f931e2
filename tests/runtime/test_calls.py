"""What a turn costs at the store, in calls."""

from __future__ import annotations

import asyncio
from typing import Any

from app.store.link import Script
from app.store.redis import RedisStore
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

ECHO = """
@cl.on_message
async def main(message: cl.Message):
    await cl.Message(f"Received: {message.content}").send()
"""

BURSTS = """
@cl.on_message
async def main(message):
    answer = cl.Message()
    for _ in range(4):
        for _ in range(5):
            await answer.stream_token("token ")
            await asyncio.sleep(0)
        await asyncio.sleep(0.1)
    await answer.send()
"""
"""Tokens in bursts, farther apart than the window in which they are joined."""


async def test_a_plain_turn_takes_two_store_calls(worker: Start) -> None:
    made = await worker(ECHO)
    talk = await Talk.start(made)
    await talk.ask("warm up")
    calls = count_scripts(made.store)
    await talk.ask("hello")
    assert calls == ["accept", "append"]


async def test_a_streamed_turn_takes_one_store_call_for_each_joined_delta(worker: Start) -> None:
    made = await worker(BURSTS)
    talk = await Talk.start(made)
    await talk.ask("warm up")
    calls = count_scripts(made.store)
    turn = await talk.say("hello")
    await talk.done(turn)
    deltas = [event["delta"] for event in talk.events(turn) if event.get("delta", "").startswith("token")]
    assert "".join(deltas) == "token " * 20
    assert len(deltas) < 10
    # the first goes with the turn's beginning; the end has one of its own, as nothing is left to go with it
    assert calls == ["accept", *["append"] * (len(deltas) + 1)]


def count_scripts(store: RedisStore) -> list[str]:
    """Note the scripts that are run on a session from now on; renewals and scans are the worker's own."""
    calls: list[str] = []
    run = store._batcher.run

    def counted(script: Script, *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        if script.name not in {"renew", "scan"}:
            calls.append(script.name)
        return run(script, *args, **kwargs)

    store._batcher.run = counted  # type: ignore[method-assign]  # to count, and to pass on
    return calls
