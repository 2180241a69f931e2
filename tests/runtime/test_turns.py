"""Turns: what a handler shows, how it ends, what stops it."""

from __future__ import annotations

import asyncio
import gc

import pytest

from app.runtime.runner import Runner
from app.runtime.turn import Turn
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

ECHO = """
@cl.on_message
async def main(message: cl.Message):
    await cl.Message(f"Received: {message.content}").send()
"""

STREAM = """
@cl.on_message
async def main(message):
    answer = cl.Message()
    for word in message.content.split():
        await answer.stream_token(word + " ")
        await asyncio.sleep(0)
    await answer.send()
"""

FOREVER = """
@cl.on_message
async def main(message):
    await cl.Message("on it").send()
    await asyncio.sleep(3600)

@cl.on_stop
async def stop():
    await cl.Message("stopped").send()
"""


async def test_a_turn_begins_with_the_users_words_and_ends_once(worker: Start) -> None:
    talk = await Talk.start(await worker(ECHO))
    turn = await talk.say("hello")
    end = await talk.done(turn)
    kinds = [event["type"] for event in talk.events()]
    text = ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]
    assert kinds == ["RUN_STARTED", *text, *text, "RUN_FINISHED"]
    assert end == {"type": "RUN_FINISHED", "threadId": talk.session, "runId": turn}
    assert talk.text(turn) == "Received: hello"
    assert [f["seq"] for f in talk.frames] == [1]


async def test_a_turn_leaves_nothing_to_the_garbage_collector(worker: Start) -> None:
    made = await worker(ECHO)
    talk = await Talk.start(made)
    gc.collect()
    gc.disable()
    try:
        await talk.ask("hello")
        await made.idle()
        left = [thing for thing in gc.get_objects() if isinstance(thing, Turn | Runner)]
        assert left == []
    finally:
        gc.enable()


async def test_turns_of_a_session_keep_their_order(worker: Start) -> None:
    talk = await Talk.start(await worker(STREAM))
    turns = [await talk.say(f"a{i} b{i} c{i}") for i in range(10)]
    await talk.done(turns[-1])
    assert [talk.text(turn) for turn in turns] == [f"a{i} b{i} c{i} " for i in range(10)]
    seqs = [seq for f in talk.frames for seq in range(f["seq"], f["seq"] + len(f["events"]))]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_many_tokens_become_few_events(worker: Start) -> None:
    talk = await Talk.start(await worker(STREAM))
    words = " ".join(f"w{i}" for i in range(5000))
    turn = await talk.say(words)
    await talk.done(turn)
    assert talk.text(turn) == words + " "
    assert len(talk.events(turn)) < 500


async def test_a_handler_that_raises_ends_with_a_reference_and_not_with_its_text(worker: Start) -> None:
    talk = await Talk.start(await worker("@cl.on_message\nasync def main(message):\n    raise ValueError('secret')"))
    end = await talk.done(await talk.say("x"))
    assert end["code"] == "handler_error"
    assert "secret" not in end["message"]
    assert "reference" in end["message"]


async def test_show_errors_shows_the_text(worker: Start) -> None:
    source = "@cl.on_message\nasync def main(message):\n    raise ValueError('the reason')"
    talk = await Talk.start(await worker(source, show_errors=True))
    assert "ValueError: the reason" in (await talk.done(await talk.say("x")))["message"]


async def test_a_def_handler_runs_in_a_thread(worker: Start) -> None:
    source = """
    import threading, time
    @cl.on_message
    def main(message):
        time.sleep(0.05)
        cl.run_sync(cl.Message(str(threading.current_thread() is threading.main_thread())).send())
    """
    talk = await Talk.start(await worker(source))
    assert await talk.ask("x") == "False"


async def test_a_cancelled_turn_closes_what_is_open_and_runs_on_stop(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        answer = cl.Message()
        await answer.stream_token("half ")
        try:
            await asyncio.sleep(3600)
        finally:
            await answer.stream_token("cleaned")

    @cl.on_stop
    async def stop():
        await cl.Message("stopped").send()
    """
    talk = await Talk.start(await worker(source))
    turn = await talk.say("x")
    await talk.until(lambda: "half" in talk.text(turn))
    await talk.cancel()
    assert (await talk.done(turn))["code"] == "cancelled"
    assert talk.text(turn) == "half cleanedstopped"
    started = [e["messageId"] for e in talk.events() if e["type"] == "TEXT_MESSAGE_START"]
    ended = [e["messageId"] for e in talk.events() if e["type"] == "TEXT_MESSAGE_END"]
    assert sorted(started) == sorted(ended)


async def test_a_cancel_hits_the_turn_it_names_and_no_other(worker: Start) -> None:
    talk = await Talk.start(await worker(FOREVER))
    first, second, third = [await talk.say(str(i)) for i in range(3)]
    await talk.cancel(second)
    await talk.cancel(first)
    assert (await talk.done(first))["code"] == "cancelled"
    assert (await talk.done(second))["code"] == "cancelled"
    assert "on it" not in talk.text(second)
    await talk.until(lambda: "on it" in talk.text(third))
    await talk.cancel()
    await talk.done(third)


async def test_a_handler_that_swallows_its_cancel_is_cancelled_all_the_same(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        await cl.Message("go").send()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass
    """
    talk = await Talk.start(await worker(source))
    turn = await talk.say("x")
    await talk.until(lambda: "go" in talk.text(turn))
    await talk.cancel()
    assert (await talk.done(turn))["code"] == "cancelled"


async def test_a_handler_that_never_gives_up_is_left_behind(worker: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.runtime.turn.STOP_GRACE", 0.1)
    source = """
    @cl.on_message
    async def main(message):
        if message.content == "well":
            return await cl.Message("well").send()
        while True:
            try:
                await cl.Message("still here").send()
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                pass
    """
    talk = await Talk.start(await worker(source))
    turn = await talk.say("x")
    await talk.until(lambda: "still here" in talk.text(turn))
    await talk.cancel()
    assert (await talk.done(turn))["code"] == "cancelled"
    assert await talk.ask("well") == "well"
    assert talk.end_of(turn) is talk.events(turn)[-1]


async def test_a_turn_that_takes_too_long_is_ended(worker: Start) -> None:
    source = FOREVER.replace("@cl.on_message", "@cl.on_message(timeout=0.05)")
    talk = await Talk.start(await worker(source))
    assert (await talk.done(await talk.say("x")))["code"] == "timeout"


async def test_a_blocking_handler_that_takes_too_long_is_ended_too(worker: Start) -> None:
    source = """
    import threading
    release = threading.Event()
    @cl.on_message(timeout=0.05)
    def main(message):
        if message.content == "release":
            release.set()
        release.wait(30)
    """
    talk = await Talk.start(await worker(source))
    assert (await talk.done(await talk.say("block")))["code"] == "timeout"
    assert (await talk.done(await talk.say("release")))["type"] == "RUN_FINISHED"


@pytest.mark.parametrize("policy", ["enqueue", "reject", "interrupt"])
async def test_what_happens_to_a_message_that_comes_while_a_turn_runs(worker: Start, policy: str) -> None:
    source = f"""
    gate = asyncio.Event()
    @cl.on_message(policy="{policy}")
    async def main(message):
        await cl.Message("at " + message.content).send()
        if message.content == "first":
            await gate.wait()
    @cl.on_stop
    async def stop():
        gate.set()
    """
    talk = await Talk.start(await worker(source))
    first = await talk.say("first")
    await talk.until(lambda: "at first" in talk.text(first))
    second = await talk.say("second")
    if policy == "reject":
        assert (await talk.done(second))["code"] == "rejected"
        assert talk.end_of(first) is None
    if policy == "interrupt":
        assert (await talk.done(first))["code"] == "cancelled"
        assert (await talk.done(second))["type"] == "RUN_FINISHED"
        return
    await talk.cancel(first)
    assert (await talk.done(first))["code"] == "cancelled"
    if policy == "enqueue":
        assert (await talk.done(second))["type"] == "RUN_FINISHED"


async def test_the_start_handler_runs_once_and_first(worker: Start) -> None:
    source = (
        ECHO
        + """
@cl.on_chat_start
async def start():
    await cl.Message("welcome").send()
"""
    )
    talk = await Talk.start(await worker(source), start="turn0")
    assert await talk.ask("hello") == "Received: hello"
    assert talk.frames[0]["turn"] == "turn0"
    assert talk.text("turn0") == "welcome"


async def test_ending_a_session_ends_its_turns_and_then_calls_the_end_handler(worker: Start) -> None:
    source = (
        FOREVER
        + """
@cl.on_chat_end
async def bye():
    await cl.Message("bye").send()
"""
    )
    made = await worker(source)
    talk = await Talk.start(made)
    running, queued = await talk.say("a"), await talk.say("b")
    await talk.until(lambda: "on it" in talk.text(running))
    await talk.end()
    async with asyncio.timeout(10):
        await talk.is_over.wait()
    assert {(await talk.done(t))["code"] for t in (running, queued)} == {"cancelled"}
    assert "on it" not in talk.text(queued)
    assert talk.text(talk.frames[-1]["turn"]) == "bye"
    await made.idle()


async def test_what_a_turn_showed_cannot_be_changed_after_it(worker: Start) -> None:
    source = """
    seen = []
    @cl.on_message
    async def main(message):
        if message.content == "report":
            return await cl.Message(seen[0]).send()
        answer = await cl.Message("in time").send()
        async def late():
            while not cl.context.turn.is_over:
                await asyncio.sleep(0)
            try:
                await answer.update()
            except cl.OutsideTurn as error:
                seen.append(str(error))
        task = asyncio.create_task(late())
        main.task = task
    """
    talk = await Talk.start(await worker(source))
    await talk.ask("x")
    assert "has ended" in await talk.ask("report")


async def test_messages_can_be_changed_and_taken_back(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        answer = await cl.Message("one").send()
        answer.content = "two"
        await answer.update()
        await answer.stream_token(" three")
        await answer.update()
        await answer.remove()
        open_one = await cl.Message("").send()
        await open_one.stream_token("streamed")
        await open_one.update()
    """
    talk = await Talk.start(await worker(source))
    turn = await talk.say("x")
    await talk.done(turn)
    customs = [(e["name"], e["value"].get("content")) for e in talk.events(turn) if e["type"] == "CUSTOM"]
    assert customs == [
        ("parley.message_updated", "two"),
        ("parley.message_updated", "two three"),
        ("parley.message_removed", None),
    ]
    assert talk.text(turn) == "onestreamed"
