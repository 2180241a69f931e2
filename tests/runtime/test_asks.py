"""Asks: the first answer wins, nothing is answered twice, and a worker's death loses neither question nor answer."""

from __future__ import annotations

from typing import Any

import pytest

from app.store import keys
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk
from tests.support.valkey import ValkeyProcess

ASKS = """
async def ask(prompt, timeout=60, key=None):
    asking = cl.context.turn.asking
    is_valid = lambda value: isinstance(value, str)
    return await asking.ask("text", prompt, timeout=timeout, is_valid=is_valid, key=key)

@cl.on_message
async def main(message):
    timeout = 0.05 if message.content == "short" else 60
    first = await ask("colour?", timeout)
    await cl.Message(f"{first.status} {first.value}").send()
    if message.content == "two":
        second = await ask("colour?")
        await cl.Message(f"and {second.value}").send()
"""


async def test_an_answer_is_returned_shown_and_no_longer_asked_for(worker: Start) -> None:
    talk = await Talk.start(await worker(ASKS))
    turn = await talk.say("x")
    ask = await talk.asked()
    assert (ask["kind"], ask["prompt"]) == ("text", "colour?")
    await talk.answer(ask["id"], "blue")
    await talk.done(turn)
    assert talk.text(turn) == "answered blue"
    assert talk.resolved() == [{"id": ask["id"], "status": "answered", "value": "blue"}]
    said = [e["delta"] for e in talk.events(turn) if e.get("messageId", "").endswith(".answer") and "delta" in e]
    assert said == ["blue"]


async def test_the_first_answer_wins_and_a_late_one_changes_nothing(worker: Start) -> None:
    talk = await Talk.start(await worker(ASKS))
    turn = await talk.say("x")
    ask = await talk.asked()
    await talk.answer(ask["id"], "first")
    await talk.answer(ask["id"], "second")
    await talk.done(turn)
    await talk.answer(ask["id"], "late")
    await talk.answer("no-such-ask", "x")
    again = await talk.say("x")
    await talk.answer((await talk.asked(1))["id"], "other")
    await talk.done(again)
    assert (talk.text(turn), talk.text(again)) == ("answered first", "answered other")
    assert len(talk.resolved()) == 2
    await talk.worker.idle()
    assert await talk.worker.store.inbox(talk.session) == []


async def test_what_is_no_answer_leaves_the_ask_open(worker: Start) -> None:
    talk = await Talk.start(await worker(ASKS))
    turn = await talk.say("x")
    ask = await talk.asked()
    await talk.answer(ask["id"], {"not": "words"})
    await talk.until(lambda: "parley.toast" in str(talk.frames))
    await talk.answer(ask["id"], "words")
    await talk.done(turn)
    assert talk.text(turn) == "answered words"


@pytest.mark.parametrize("how", ["declined", "expired", "cancelled"])
async def test_an_ask_may_end_without_an_answer(worker: Start, how: str) -> None:
    talk = await Talk.start(await worker(ASKS))
    turn = await talk.say("short" if how == "expired" else "x")
    ask = await talk.asked()
    if how == "declined":
        await talk.decline(ask["id"])
    elif how == "cancelled":
        await talk.cancel()
    end = await talk.done(turn)
    status = "expired" if how == "expired" else "cancelled"
    assert talk.resolved() == [{"id": ask["id"], "status": status}]
    assert end["type"] == ("RUN_ERROR" if how == "cancelled" else "RUN_FINISHED")


@pytest.mark.parametrize("when", ["before", "between"])
async def test_an_answer_outlives_the_worker(worker: Start, when: str) -> None:
    source = (
        ASKS
        + """
    if cl.context.turn.attempt == 1:
        await asyncio.sleep(3600)
"""
    )
    first = await worker(source)
    talk = await Talk.start(first)
    turn = await talk.say("x")
    ask = await talk.asked()
    if when == "before":
        await talk.answer(ask["id"], "kept")
        await talk.until(lambda: "answered kept" in talk.text(turn))
    await first.die()
    second = await worker()
    second.store.dismiss()
    second.supervisor._draining = True  # takes the answer in, and does not take the session up
    await talk.move(second)
    if when == "between":
        await talk.answer(ask["id"], "kept")
    third = await worker()
    await talk.move(third)
    assert (await talk.done(turn))["type"] == "RUN_FINISHED"
    assert talk.text(turn, attempt=2) == "answered kept"
    assert talk.resolved() == [{"id": ask["id"], "status": "answered", "value": "kept"}]


async def test_an_answer_to_a_turn_that_was_cancelled_too_leaves_the_inbox(worker: Start) -> None:
    first = await worker(ASKS)
    talk = await Talk.start(first)
    turn = await talk.say("x")
    ask = await talk.asked()
    await first.die()
    second = await worker()
    second.store.dismiss()
    second.supervisor._draining = True  # takes both in, and does not take the session up
    await talk.move(second)
    await talk.answer(ask["id"], "kept")
    await talk.cancel()
    third = await worker()
    await talk.move(third)
    assert (await talk.done(turn))["code"] == "cancelled"
    await third.idle()
    assert await third.store.inbox(talk.session) == []


async def test_an_open_ask_is_asked_again_and_keeps_its_deadline(worker: Start) -> None:
    first = await worker(ASKS)
    talk = await Talk.start(first)
    turn = await talk.say("two")
    await talk.answer((await talk.asked())["id"], "one")
    open_one = await talk.asked(1)
    await first.die()
    await talk.move(await worker())
    again = await talk.asked(2)
    assert again["id"] != open_one["id"]
    assert again["expiresAt"] == open_one["expiresAt"]
    await talk.answer(again["id"], "two")
    await talk.done(turn)
    assert talk.text(turn, attempt=2) == "answered oneand two"
    assert [r["status"] for r in talk.resolved()] == ["answered", "cancelled", "answered"]


async def test_an_answer_to_an_ask_that_a_next_attempt_has_taken_back_changes_nothing(worker: Start) -> None:
    stuck = "async def main(message):\n    await asyncio.sleep(3600 * (cl.context.turn.attempt == 2))"
    source = ASKS.replace("async def main(message):", stuck)
    first = await worker(source)
    talk = await Talk.start(first)
    turn = await talk.say("x")
    ask = await talk.asked()
    await first.die()
    second = await worker()
    await talk.move(second)
    await talk.until(talk.resolved)
    await second.die()
    third = await worker()
    third.store.dismiss()
    third.supervisor._draining = True  # takes the answer in, and does not take the session up
    await talk.move(third)
    await talk.answer(ask["id"], "late")
    fourth = await worker()
    await talk.move(fourth)
    again = await talk.asked(1)
    await talk.answer(again["id"], "in time")
    await talk.done(turn)
    assert talk.text(turn, attempt=3) == "answered in time"
    assert [r["status"] for r in talk.resolved()] == ["cancelled", "answered"]


async def test_an_answer_under_an_index_that_a_store_without_its_tail_gives_out_again_leaves_the_inbox(
    worker: Start, shared_valkey: ValkeyProcess
) -> None:
    made = await worker(ASKS + "    await cl.Message(str(await cl.AskUserMessage('more?').send())).send()\n")
    talk = await Talk.start(made)
    turn = await talk.say("x")
    await talk.answer((await talk.asked())["id"], "blue")
    second = await talk.asked(1)
    with shared_valkey.client() as store:
        # as if the answer had come after all that was kept
        store.hincrby(keys.meta(talk.session), "inputs", -1)
        inbox = keys.inputs(talk.session)
        left: Any = store.xrange(inbox)
        store.delete(inbox)
        for index, fields in left:
            store.xadd(inbox, fields, index)
    await talk.answer("no-such-ask", "late")
    await talk.answer(second["id"], "green")
    await talk.done(turn)
    await made.idle()
    assert await made.store.inbox(talk.session) == []
