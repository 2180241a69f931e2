"""What outlives a worker: the conversation, its state, and the turn that was running."""

from __future__ import annotations

import asyncio
import sys

import pytest

from app.errors import SessionEnded
from app.metrics import HANDOVERS, TAKEOVERS
from app.protocol.frames import START, Position
from app.runtime.attempts import CANCELLED
from app.runtime.history import fold_all
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

COUNTING = """
@cl.on_message
async def main(message):
    cl.user_session["count"] = cl.user_session.get("count", 0) + 1
    await cl.Message(f"{cl.user_session['count']}").send()
    if message.content == "raise":
        raise ValueError
    if message.content == "wait":
        await asyncio.sleep(3600)
"""

SHARING = """
from pydantic import BaseModel

class Shared(BaseModel):
    said: dict[str, int] = {}

shared = cl.state(Shared)

@cl.on_message
async def main(message):
    async with shared.change() as value:
        value.said[f"{message.content} {cl.context.turn.attempt}"] = 1
    if message.content == "wait" and cl.context.turn.attempt == 1:
        await asyncio.sleep(3600)
"""

STUCK = """
@cl.on_message(RETRY)
async def main(message):
    answer = cl.Message()
    await answer.stream_token(f"attempt {cl.context.turn.attempt}")
    if cl.context.turn.attempt <= DIES:
        await asyncio.sleep(3600)
    await answer.send()
"""


def stuck(dies: int, *, retry: bool = True) -> str:
    return STUCK.replace("DIES", str(dies)).replace("RETRY", f"retry={retry}")


@pytest.mark.parametrize("how", ["run again", "cancelled"])
async def test_a_change_of_the_shared_state_is_taken_back_with_the_attempt_that_made_it(
    worker: Start, how: str
) -> None:
    first = await worker(SHARING)
    talk = await Talk.start(first)
    await talk.done(await talk.say("one"))
    turn = await talk.say("wait")
    await talk.until(lambda: "wait 1" in str(talk.frames))
    await first.die()
    second = await worker()
    if how == "cancelled":
        second.store.dismiss()
        second.supervisor._draining = True  # takes the cancel in, and does not take the session up
        await talk.move(second)
        await talk.cancel()
        second = await worker()
    await talk.move(second)
    await talk.done(turn)
    fold = await fold_all(second.store, talk.session)
    said = {"one 1": 1} if how == "cancelled" else {"one 1": 1, "wait 2": 1}
    assert fold.state == {"said": said}


async def test_state_is_kept_with_the_turn_and_moves_to_another_worker(worker: Start) -> None:
    first = await worker(COUNTING)
    talk = await Talk.start(first)
    assert await talk.ask("a") == "1"
    assert await talk.ask("raise") == "2"
    await first.stop()
    await talk.move(await worker())
    assert await talk.ask("b") == "3"


async def test_a_turn_whose_worker_died_runs_again_from_the_state_before_it(worker: Start) -> None:
    first = await worker(COUNTING)
    talk = await Talk.start(first)
    assert await talk.ask("a") == "1"
    turn = await talk.say("wait")
    await talk.until(lambda: talk.text(turn) == "2")
    queued = await talk.say("queued")
    taken = TAKEOVERS._value.get()
    await first.die()
    await talk.move(await worker())
    await talk.until(lambda: talk.text(turn, attempt=2) == "2")
    assert TAKEOVERS._value.get() == taken + 1
    await talk.cancel(turn)
    assert (await talk.done(turn))["code"] == "cancelled"
    await talk.done(queued)
    assert talk.text(queued) == "3"


async def test_a_next_attempt_supersedes_what_the_earlier_one_showed(worker: Start) -> None:
    first = await worker(stuck(1))
    talk = await Talk.start(first)
    turn = await talk.say("x")
    await talk.until(lambda: "attempt 1" in talk.text(turn))
    await first.die()
    second = await worker()
    await talk.move(second)
    await talk.done(turn)
    again = next(f for f in talk.frames if f["attempt"] == 2)
    assert [e["type"] for e in again["events"][:3]] == ["TEXT_MESSAGE_END", "CUSTOM", "RUN_STARTED"]
    (shown,) = again["events"][1]["value"]["messages"]
    assert again["events"][0]["messageId"] == shown
    assert [e for e in talk.events() if e.get("role") == "user"] == talk.events()[1:2]
    fold = await fold_all(second.store, talk.session)
    said = [(m["role"], m["content"]) for m in fold.snapshot()["messages"]]
    assert said == [("user", "x"), ("assistant", "attempt 2")]


async def test_a_handler_that_opts_out_is_not_run_again(worker: Start) -> None:
    first = await worker(stuck(9, retry=False))
    talk = await Talk.start(first)
    turn = await talk.say("x")
    await talk.until(lambda: "attempt 1" in talk.text(turn))
    await first.die()
    await talk.move(await worker())
    assert (await talk.done(turn))["code"] == "interrupted"
    assert talk.text(turn) == "attempt 1"


async def test_a_turn_that_kills_its_workers_is_given_up(worker: Start) -> None:
    first = await worker(stuck(9), turn_max_attempts=2)
    talk = await Talk.start(first)
    turn = await talk.say("x")
    await talk.until(lambda: "attempt 1" in talk.text(turn))
    await first.die()
    second = await worker(turn_max_attempts=2)
    await talk.move(second)
    await talk.until(lambda: "attempt 2" in talk.text(turn))
    after = await talk.say("next")
    await second.die()
    third = await worker(turn_max_attempts=2)
    await talk.move(third)
    assert (await talk.done(turn))["code"] == "poisoned"
    await talk.until(lambda: "attempt 1" in talk.text(after))


async def test_a_cancel_that_nobody_took_up_ends_the_next_attempt_before_its_handler(worker: Start) -> None:
    first = await worker(stuck(1))
    talk = await Talk.start(first)
    turn = await talk.say("x")
    await talk.until(lambda: "attempt 1" in talk.text(turn))
    await first.die()
    second = await worker()
    second.supervisor._draining = True  # it takes inputs in, and nobody up
    second.store.dismiss()
    await talk.move(second)
    await talk.cancel(turn)
    third = await worker()
    await talk.move(third)
    assert (await talk.done(turn))["code"] == "cancelled"
    assert "attempt 2" not in talk.text(turn)


async def test_a_drained_worker_hands_its_turn_over_without_a_death(worker: Start) -> None:
    first = await worker(stuck(1), turn_max_attempts=1)
    talk = await Talk.start(first)
    turn = await talk.say("x")
    await talk.until(lambda: "attempt 1" in talk.text(turn))
    handed = HANDOVERS._value.get()
    await first.supervisor.drain(0)
    assert HANDOVERS._value.get() == handed + 1
    await first.stop()
    await talk.move(await worker(turn_max_attempts=1))
    assert (await talk.done(turn))["type"] == "RUN_FINISHED"


async def test_a_draining_worker_lets_its_turn_end_and_takes_no_other(worker: Start) -> None:
    source = """
    gate = asyncio.Event()
    @cl.on_message
    async def main(message):
        await cl.Message("at " + message.content).send()
        if message.content == "first":
            await asyncio.sleep(0.1)
    """
    first = await worker(source)
    talk = await Talk.start(first)
    running = await talk.say("first")
    await talk.until(lambda: "at first" in talk.text(running))
    queued = await talk.say("second")
    await first.supervisor.drain(10)
    assert talk.end_of(running) is not None
    assert talk.text(queued) == ""
    await talk.move(await worker())
    await talk.done(queued)
    assert talk.frames[-1]["attempt"] == 1


async def test_a_session_that_comes_to_a_draining_worker_is_passed_on(worker: Start) -> None:
    first = await worker(COUNTING)
    talk = await Talk.start(first)
    accepting = asyncio.create_task(talk.say("a"))
    await asyncio.sleep(0)  # the call that claims it is on its way
    await first.supervisor.drain(10)
    turn = await accepting
    await first.idle()
    assert talk.text(turn) == ""
    await talk.move(await worker())
    await talk.done(turn)
    assert (talk.text(turn), talk.frames[-1]["attempt"]) == ("1", 1)


async def test_a_worker_that_lost_its_lease_writes_nothing_more(worker: Start) -> None:
    first = await worker(COUNTING)
    talk = await Talk.start(first)
    turn = await talk.say("wait")
    await talk.until(lambda: talk.text(turn) == "1")
    second = await worker()
    thief = await second.store.claim(talk.session, dead=first.name)
    assert thief is not None
    head = (await first.store.read(talk.session, START)).head
    writer = first.supervisor._runners[talk.session]._turn
    assert writer is not None
    writer.cancel(CANCELLED)
    await first.idle()
    assert (await first.store.read(talk.session, START)).head == head


async def test_a_long_log_is_folded_and_the_conversation_stays_whole(worker: Start) -> None:
    made = await worker(COUNTING, log_events=100)
    talk = await Talk.start(made)
    for i in range(60):
        await talk.ask(f"m{i}")
    page = await made.store.read(talk.session, Position(1, talk.frames[0]["mark"]))
    assert page.join == "trimmed"
    fold = await fold_all(made.store, talk.session)
    said = [m["content"] for m in fold.snapshot()["messages"]]
    assert said == [word for i in range(60) for word in (f"m{i}", str(i + 1))]


async def test_resume_is_called_where_the_session_was_not_known(worker: Start) -> None:
    source = """
    @cl.on_chat_resume
    async def resume(thread):
        said = [m["content"] for m in thread["messages"]]
        await cl.Message(f"resumed {said}").send()
    @cl.on_message
    async def main(message):
        await cl.Message("heard " + message.content).send()
    """
    first = await worker(source)
    talk = await Talk.start(first)
    assert await talk.ask("a") == "heard a"
    assert await talk.ask("b") == "heard b"
    await first.stop()
    await talk.move(await worker())
    assert await talk.ask("c") == "resumed ['a', 'heard a', 'b', 'heard b']heard c"
    assert await talk.ask("d") == "heard d"


async def test_values_that_cannot_be_kept_stay_here_and_are_missed_elsewhere(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        if message.content == "set":
            cl.user_session["lock"] = asyncio.Lock()
            cl.user_session["list"] = [1]
        else:
            cl.user_session["list"].append(2)
            try:
                await cl.Message(type(cl.user_session["lock"]).__name__).send()
            except cl.SessionStateError as error:
                await cl.Message(str(error)).send()
        await cl.Message(str(cl.user_session["list"])).send()
    """
    first = await worker(source)
    talk = await Talk.start(first)
    assert await talk.ask("set") == "[1]"
    assert await talk.ask("get") == "Lock[1, 2]"
    await first.stop()
    await talk.move(await worker())
    assert "on_chat_resume" in await talk.ask("get")


async def test_state_over_its_limit_is_not_kept_and_commit_says_so(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        cl.user_session["large"] = "x" * 5000
        if message.content == "commit":
            try:
                await cl.user_session.commit()
            except cl.SessionStateError as error:
                await cl.Message(str(error)).send()
        await cl.Message(str(len(cl.user_session.get("large", "")))).send()
    """
    first = await worker(source, state_bytes=1024)
    talk = await Talk.start(first)
    assert "PARLEY_STATE_BYTES" in await talk.ask("commit")


async def test_state_over_its_limit_at_a_turns_end_fails_the_turn(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        if message.content != "get":
            cl.user_session["large"] = "x" * int(message.content)
        await cl.Message(str(len(cl.user_session.get("large", "")))).send()
    """
    talk = await Talk.start(await worker(source, state_bytes=1024))
    assert await talk.ask("100") == "100"
    end = await talk.done(await talk.say("5000"))
    assert end["code"] == "handler_error"
    assert "PARLEY_STATE_BYTES" in end["message"]
    assert await talk.ask("get") == "100"


async def test_an_end_handler_whose_worker_died_runs_again_and_ends_once(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message): ...

    @cl.on_chat_end
    async def end():
        await cl.Message(f"bye {cl.context.turn.attempt}").send()
        if cl.context.turn.attempt == 1:
            await asyncio.sleep(3600)
    """
    first = await worker(source)
    talk = await Talk.start(first)
    await talk.end()
    await talk.until(lambda: "bye 1" in str(talk.frames))
    turn = talk.frames[-1]["turn"]
    await first.die()
    await talk.move(await worker())
    async with asyncio.timeout(20):
        await talk.is_over.wait()
    assert (await talk.done(turn))["type"] == "RUN_FINISHED"
    assert talk.text(turn, attempt=2) == "bye 2"


async def test_a_handler_that_opts_out_is_known_to_the_store_before_it_is_called(worker: Start) -> None:
    source = """
    @cl.on_message(retry=False)
    async def main(message):
        main.seen.append((await main.store.read(cl.context.session.id, main.start)).head.seq)
        await cl.Message("done").send()
    """
    made = await worker(source)
    seen: list[int] = []
    main = sys.modules["parley_handlers.agent"].main
    main.seen, main.store, main.start = seen, made.store, START
    talk = await Talk.start(made)
    assert await talk.ask("x") == "done"
    assert seen[0] > 0


async def test_a_session_in_which_only_the_agent_spoke_expires_like_an_empty_one(worker: Start) -> None:
    source = (
        COUNTING
        + """
@cl.on_chat_start
async def start():
    await cl.Message("hi").send()
"""
    )
    made = await worker(source, empty_session_ttl=0.3)
    talk = await Talk.start(made, start="turn0")
    await talk.done("turn0")
    made.store.unlisten(talk.session, talk)
    with pytest.raises(SessionEnded):
        async with asyncio.timeout(20):
            while True:
                await made.store.read(talk.session, START)
                await asyncio.sleep(0.05)


async def test_a_session_nobody_uses_ends_with_its_end_handler(worker: Start) -> None:
    source = (
        COUNTING
        + """
@cl.on_chat_end
async def end():
    await cl.Message("bye").send()
"""
    )
    made = await worker(source, session_ttl=0.3)
    talk = await Talk.start(made)
    await talk.ask("a")
    made.store.unlisten(talk.session, talk)
    with pytest.raises(SessionEnded):
        async with asyncio.timeout(20):
            while True:
                await made.store.read(talk.session, START)
                await asyncio.sleep(0.05)
