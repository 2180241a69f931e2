"""What once broke a worker, or wedged a session: each of these is a mistake that was made and found."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.protocol.codec import pack
from app.protocol.events import run_started
from app.store.base import Batch, LogEntry
from tests.chaos.proxy import FaultProxy
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk
from tests.support.valkey import ValkeyProcess

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


ASKER = """
@cl.on_message
async def main(message):
    answer = await cl.AskUserMessage("colour?", timeout=3600).send()
    await cl.Message(answer["output"]).send()
"""


@pytest.fixture
async def line(shared_valkey: ValkeyProcess) -> AsyncIterator[FaultProxy]:
    """A way to the store that can be cut."""
    proxy = FaultProxy(("127.0.0.1", int(shared_valkey.url.rpartition(":")[2].partition("/")[0])))
    await proxy.start()
    yield proxy
    await proxy.stop()


@pytest.mark.parametrize("how", ["stalled", "subscribed anew"])
async def test_a_turn_that_waits_for_an_answer_ends_where_its_lease_was_lost(
    worker: Start, line: FaultProxy, how: str
) -> None:
    first = await worker(ASKER, url=f"redis://127.0.0.1:{line.port}/0")
    talk = await Talk.start(first)
    turn = await talk.say("x")
    await talk.asked()
    second = await worker()
    await talk.move(second)
    if how == "stalled":
        line.stall("up")
        await talk.asked(1)
        line.flow()
    else:
        claim = await second.store.claim(talk.session, first.name)
        assert claim is not None
        second.supervisor.claimed(claim)
        await talk.asked(1)
        line.reset(only="subscriber")
    await first.idle()
    await talk.answer((await talk.asked(1))["id"], "blue")
    await talk.done(turn)
    assert talk.text(turn, attempt=2).endswith("blue")


PAUSING = """
@cl.on_message
async def main(message):
    if message.content == "second":
        return
    await cl.Message("before").send()
    await asyncio.sleep(0.5)
    await cl.AskUserMessage("colour?", timeout=3600).send()
"""


async def test_a_turn_that_waits_for_an_answer_notices_that_its_ask_is_lost(worker: Start, tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path / "store") as valkey:
        made = await worker(PAUSING, url=valkey.url)
        talk = await Talk.start(made)
        turn = await talk.say("first")
        await talk.until(lambda: talk.text(turn) == "before")
        written = valkey.written()
        await talk.asked()
        await asyncio.to_thread(valkey.lose, written)
        talk._seq = 0
        talk.frames.clear()
        await talk.answer((await talk.asked())["id"], "blue")
        await talk.done(turn)
        await made.idle()


async def test_what_waits_in_line_is_not_taken_for_what_came_in_its_place(worker: Start, tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path / "store") as valkey:
        made = await worker(PAUSING, url=valkey.url)
        talk = await Talk.start(made)
        await talk.say("first")
        await talk.asked()
        written = valkey.written()
        await talk.say("second")
        while not made.supervisor._runners[talk.session]._queue:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(valkey.lose, written)
        talk._n -= 1
        second = await talk.say("second")
        await talk.answer((await talk.asked(1))["id"], "blue")
        await talk.done(second)
        await made.idle()


async def test_a_turn_whose_input_the_store_lost_ends_and_the_session_goes_on(worker: Start) -> None:
    made = await worker("@cl.on_message\nasync def main(message):\n    await cl.Message('fine').send()\n")
    talk = await Talk.start(made)
    claim = await made.store.claim(talk.session)
    assert claim is not None
    (packed,) = pack(1, claim.mark, "lost", 1, [run_started(talk.session, "lost")])
    entry = LogEntry(packed.first, packed.last, claim.mark, packed.frame)
    await made.store.append(claim, 0, Batch(id="batch", entries=[entry], started=("lost", 1)))
    assert await talk.ask("well") == "fine"
    assert (await talk.done("lost"))["code"] == "interrupted"


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


INTERRUPT = """
@cl.on_chat_start
async def start():
    await asyncio.sleep(0.2)
    cl.user_session["ready"] = True

@cl.on_message(policy="POLICY")
async def main(message):
    await cl.Message(f"{cl.user_session['ready']} {message.content}").send()
    await asyncio.sleep(0.3)
"""


async def test_of_many_messages_at_once_only_the_newest_is_answered(worker: Start) -> None:
    talk = await Talk.start(await worker(INTERRUPT.replace("POLICY", "interrupt")), start="turn0")
    turns = [await talk.say(str(number)) for number in range(20)]
    ends = [await talk.done(turn) for turn in turns]
    assert [end.get("code") for end in ends] == ["cancelled"] * 19 + [None]
    assert talk.text(turns[-1]) == "True 19"
    assert (await talk.done("turn0"))["type"] == "RUN_FINISHED"


async def test_a_start_neither_rejects_the_first_message_nor_is_interrupted_by_it(worker: Start) -> None:
    talk = await Talk.start(await worker(INTERRUPT.replace("POLICY", "reject")), start="turn0")
    turns = [await talk.say(str(number)) for number in range(3)]
    ends = [await talk.done(turn) for turn in turns]
    assert [end.get("code") for end in ends] == [None, "rejected", "rejected"]


async def test_a_cancel_counts_from_the_moment_it_is_accepted(worker: Start) -> None:
    source = """
    @cl.on_chat_resume
    async def resume(thread):
        await asyncio.sleep(0)
    @cl.on_message
    async def main(message):
        await asyncio.sleep(3600 if message.content == "long" else 0)
    """
    first = await worker(source)
    talk = await Talk.start(first)
    await talk.ask("x")
    await first.stop()
    second = await worker()
    await talk.move(second)
    turn = await talk.say("long")  # resuming, it reads the log before there is a task to cancel
    await talk.cancel(turn)
    assert (await talk.done(turn))["code"] == "cancelled"


async def test_on_stop_may_say_more_than_waits_for_the_store(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        await cl.Message("on it").send()
        await asyncio.sleep(3600)
    @cl.on_stop
    async def stop():
        for _ in range(30):
            await cl.Message("z" * 20_000).send()
        await cl.Message("the end").send()
    """
    talk = await Talk.start(await worker(source))
    turn = await talk.say("x")
    await talk.until(lambda: "on it" in talk.text(turn))
    await talk.cancel()
    assert (await talk.done(turn))["code"] == "cancelled"
    assert talk.text(turn).endswith("the end")


async def test_a_handler_that_kills_its_worker_at_once_is_given_up(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        if message.content == "kill":
            main.killed()
            await asyncio.sleep(3600)
    """
    first = await worker(source, turn_max_attempts=2)
    talk = await Talk.start(first)
    main = sys.modules["parley_handlers.agent"].main
    turn, dying = "", first
    for _ in range(3):
        reached = asyncio.Event()
        main.killed = reached.set
        turn = turn or await talk.say("kill")
        await reached.wait()
        # the process ends here, before the loop goes round: what was not flushed is lost
        dying.store._batcher._task.cancel()  # type: ignore[union-attr]  # it runs
        await dying.die()
        dying = await worker(turn_max_attempts=2)
        await talk.move(dying)
    assert (await talk.done(turn))["code"] == "poisoned"


async def test_a_claim_on_its_way_is_not_claimed_over(worker: Start) -> None:
    made = await worker(
        """
        calls = []

        @cl.on_message
        async def main(message):
            calls.append(message)
            await asyncio.sleep(0.1)
            await cl.Message(f"{len(calls)} calls").send()
        """
    )
    talk = await Talk.start(made)
    saying = asyncio.create_task(talk.say("hello"))
    await asyncio.sleep(0)  # the call is sent, and takes the lease
    made.supervisor.wake(talk.session)  # as another worker's word of an input may come before its reply
    turn = await saying
    await talk.done(turn)
    assert talk.text(turn) == "1 calls"
