"""What once broke a worker, or wedged a session: each of these is a mistake that was made and found."""

from __future__ import annotations

import asyncio

import pytest

from app.store.base import Batch
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

BAD = r"""
class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no words")

@cl.on_message
async def main(message):
    if message.content == "exit":
        raise SystemExit(7)
    if message.content == "interrupt":
        raise KeyboardInterrupt
    if message.content == "mute":
        raise Mute
    if message.content == "key":
        cl.user_session["\ud800"] = 1
    if message.content == "id":
        await cl.Message("shown", id="\ud800").send()
    await cl.Message("fine").send()
"""


@pytest.mark.parametrize("word", ["exit", "interrupt", "mute", "key", "id"])
async def test_a_bad_handler_ends_its_turn_and_nothing_else(worker: Start, word: str) -> None:
    made = await worker(BAD, show_errors=True)
    talk, other = await Talk.start(made), await Talk.start(made)
    end = await talk.done(await talk.say(word))
    assert end["type"] == ("RUN_FINISHED" if word == "id" else "RUN_ERROR")
    assert await talk.ask("well") == "fine"
    assert await other.ask("well") == "fine"


@pytest.mark.parametrize("how", ["flush", "commit"])
async def test_a_cancel_in_the_middle_of_an_append_does_not_lose_the_log(worker: Start, how: str) -> None:
    source = f"""
    @cl.on_message
    async def main(message):
        while True:
            cl.user_session["n"] = cl.user_session.get("n", 0) + 1
            await cl.Message("t").send()
            await cl.{"context.flush" if how == "flush" else "user_session.commit"}()
    """
    talk = await Talk.start(await worker(source))
    for _ in range(10):
        turn = await talk.say("x")
        await talk.until(lambda turn=turn: talk.text(turn))  # type: ignore[misc]
        await talk.cancel()
        assert (await talk.done(turn))["code"] == "cancelled"
        assert {frame["attempt"] for frame in talk.frames} == {1}


async def test_a_worker_whose_lease_ran_out_goes_on_if_nobody_took_it(worker: Start) -> None:
    source = "gate = asyncio.Event()\n@cl.on_message\nasync def main(message):\n    await gate.wait()\n"
    made = await worker(source.replace("await gate.wait()", "await asyncio.sleep(0.5)"), lease_ttl=0.1)
    for loop in made.supervisor._loops:
        loop.cancel()  # it renews no more, as while its store stalls
    talk = await Talk.start(made)
    turn = await talk.say("one")
    await asyncio.sleep(0.2)
    after = await talk.say("two")
    assert (await talk.done(turn))["type"] == "RUN_FINISHED"
    await talk.done(after)
    assert {frame["attempt"] for frame in talk.frames} == {1}


async def test_a_session_that_the_store_holds_for_ours_is_taken_up(worker: Start) -> None:
    source = "@cl.on_message\nasync def main(message):\n    await cl.Message('done').send()\n"
    made = await worker(source, lease_ttl=0.5)
    talk = await Talk.start(made)
    made.store.dismiss()
    turn = await talk.say("x")
    # as after a lost tail: the input is there, the lease is ours, and no runner knows of either
    claim = await made.store.claim(talk.session)
    assert claim is not None
    await made.store.append(claim, 0, Batch(id="x"))
    assert (await talk.done(turn))["type"] == "RUN_FINISHED"


async def test_a_handler_that_cannot_be_stopped_does_not_stop_the_stop(
    worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.runtime.turn.STOP_GRACE", 0.1)
    monkeypatch.setattr("app.runtime.background.STOP_WITHIN", 0.1)
    source = """
    @cl.on_message
    async def main(message):
        await cl.Message("on it").send()
        while True:
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass
    """
    made = await worker(source)
    talk = await Talk.start(made)
    turn = await talk.say("x")
    await talk.until(lambda: "on it" in talk.text(turn))
    await talk.cancel()
    await talk.done(turn)
    assert [task for task in asyncio.all_tasks() if task.get_name() == f"turn {turn}"]
    await made.supervisor.stop()
    await asyncio.sleep(0.05)
    assert not [task for task in asyncio.all_tasks() if task.get_name() == f"turn {turn}"]
