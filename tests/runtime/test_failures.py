"""Failures at their exact moment: an owner that dies around an append, a reply that is lost, a runner that crashes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from app.protocol.frames import START
from app.runtime.runner import Runner
from app.store.batcher import Argument
from app.store.redis import RedisStore
from tests.chaos.proxy import FaultProxy
from tests.runtime.conftest import Start
from tests.runtime.stage import Frame, Talk, Worker
from tests.support.valkey import ValkeyProcess
from tests.support.wire import assert_gapless, assert_turns_end_once, transcript

TWO = """
@cl.on_message
async def main(message):
    cl.user_session["count"] = cl.user_session.get("count", 0) + 1
    await cl.Message("one").send()
    await cl.context.flush()
    await cl.Message(f"two {cl.user_session['count']}").send()
"""
SAID = [("user", "x"), ("assistant", "one"), ("assistant", "two 1")]


async def log_of(store: RedisStore, session: str) -> list[Frame]:
    """All of a short session's log."""
    return [orjson.loads(entry.frame) for entry in (await store.read(session, START)).entries]


async def assert_said(store: RedisStore, session: str, attempts: int) -> None:
    """The turn ended once, in its last attempt, and what it said is seen once."""
    frames = await log_of(store, session)
    assert_gapless(frames)
    assert_turns_end_once(frames)
    assert transcript(frames) == SAID
    assert frames[-1]["attempt"] == attempts


class Doom:
    """The moment at which a worker dies: around the nth of its appends, or never."""

    def __init__(self, store: RedisStore, nth: int, *, ran: bool) -> None:
        self.came = asyncio.Event()
        self._run = store._run
        self._left = nth
        self._ran = ran

    async def run(self, name: str, session: str, args: Sequence[Argument], within: float | None = None) -> list[Any]:
        self._left -= name == "append"
        if name != "append" or self._left:
            return await self._run(name, session, args, within)
        if self._ran:
            await self._run(name, session, args, within)
        self.came.set()
        await asyncio.Event().wait()
        raise AssertionError


@pytest.mark.parametrize(
    ("nth", "ran", "attempts"),
    [
        pytest.param(1, False, 1, id="before the first append"),
        pytest.param(1, True, 2, id="after an append, before the socket"),
        pytest.param(2, False, 2, id="before the last append"),
        pytest.param(2, True, 1, id="after the last event"),
    ],
)
async def test_an_owner_dies(
    worker: Start, monkeypatch: pytest.MonkeyPatch, nth: int, attempts: int, *, ran: bool
) -> None:
    first = await worker(TWO)
    talk = await Talk.start(first)
    doom = Doom(first.store, nth, ran=ran)
    monkeypatch.setattr(first.store, "_run", doom.run)
    turn = await talk.say("x")
    await doom.came.wait()
    await first.die()
    second = await worker()
    if (nth, ran) != (2, True):
        await talk.move(second)
        await talk.done(turn)
    await assert_said(second.store, talk.session, attempts)
    await talk.move(second)
    assert await talk.ask("again") == "onetwo 2"


@asynccontextmanager
async def behind_a_proxy(made: Worker, valkey: ValkeyProcess) -> AsyncIterator[FaultProxy]:
    """Put a proxy between a worker and its store, and stop all that the worker asks of it by itself."""
    for loop in made.supervisor._loops:
        loop.cancel()
    proxy = FaultProxy(("127.0.0.1", valkey.port))
    await proxy.start()
    connection = made.store._batcher._connection
    await connection.disconnect(nowait=True)
    connection.port = proxy.port  # type: ignore[attr-defined]  # it is one over TCP
    try:
        yield proxy
    finally:
        await proxy.stop()


@pytest.mark.parametrize(("nth", "call"), [(1, "accept"), (2, "append"), (3, "the last append")], ids=str)
async def test_a_lost_reply_is_asked_for_again(
    worker: Start, shared_valkey: ValkeyProcess, nth: int, call: str
) -> None:
    made = await worker(TWO)
    talk = await Talk.start(made)
    async with behind_a_proxy(made, shared_valkey) as proxy:
        proxy.drop_reply(nth)
        turn = await talk.say("x")
        await talk.done(turn)
        assert not proxy._faults.replies_left, f"the reply to {call} was not lost"
        await assert_said(made.store, talk.session, 1)


async def test_a_claim_whose_reply_is_lost_is_made_again(worker: Start, shared_valkey: ValkeyProcess) -> None:
    made = await worker(TWO)
    talk = await Talk.start(made)
    made.store.dismiss()
    turn = await talk.say("x")
    async with behind_a_proxy(made, shared_valkey) as proxy:
        proxy.drop_reply(1)
        assert await made.supervisor._take(talk.session, due=True)
        assert not proxy._faults.replies_left
        await talk.done(turn)
        await assert_said(made.store, talk.session, 1)


@pytest.mark.parametrize(("where", "attempts"), [("_do", 1), ("_finish", 2)])
async def test_a_session_whose_runner_crashed_is_taken_up_again(
    worker: Start, monkeypatch: pytest.MonkeyPatch, where: str, attempts: int
) -> None:
    monkeypatch.setattr("app.runtime.supervisor.CRASH_PAUSE", 0.05)
    made = await worker(TWO)
    for loop in made.supervisor._loops:
        loop.cancel()  # or its scan would find the session, some seconds later
    talk = await Talk.start(made)
    sound = getattr(Runner, where)
    crashes = iter([True])

    async def crash(runner: Runner, *args: Any) -> None:
        if next(crashes, False):
            raise ZeroDivisionError
        await sound(runner, *args)

    monkeypatch.setattr(Runner, where, crash)
    await talk.done(await talk.say("x"))
    await assert_said(made.store, talk.session, attempts)
    assert await talk.ask("again") == "onetwo 2"


async def test_a_cancel_and_the_end_of_its_turn_race_and_one_of_them_wins(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        await asyncio.sleep(0.01)
        await cl.Message("whole").send()
    """
    one, two = await worker(source), await worker()
    talk = await Talk.start(one)
    won = {"cancelled": 0, "finished": 0}
    for number in range(60):
        talk.worker = one
        turn = await talk.say("x")
        talk.worker = two  # so the cancel comes from elsewhere
        await asyncio.sleep(0.0005 * number)
        await talk.cancel(turn)
        end = await talk.done(turn)
        won[end.get("code", "finished")] += 1
        assert talk.text(turn) == "whole" or end.get("code") == "cancelled"
    assert all(won.values()), won


ASKS = """
@cl.on_message
async def main(message):
    reply = await cl.AskUserMessage("Colour?").send()
    await cl.Message("You said " + reply["output"]).send()
"""


async def test_an_answer_that_comes_while_its_owner_hears_nothing(worker: Start) -> None:
    one, two = await worker(ASKS, lease_ttl=60), await worker(lease_ttl=60)
    talk = await Talk.start(one)
    turn = await talk.say("x")
    ask = await talk.asked()
    await one.store._channel.stop()
    talk.worker = two
    await talk.answer(ask["id"], "blue")
    one.store._channel.start()  # as after any lost connection: it subscribes anew
    await talk.done(turn)
    assert talk.text(turn) == "Colour?You said blue"


async def test_a_wake_that_is_lost_is_made_good_by_the_scan(worker: Start) -> None:
    one, two = await worker(ASKS, lease_ttl=1), await worker(lease_ttl=1)
    talk = await Talk.start(one)
    turn = await talk.say("x")
    ask = await talk.asked()
    one.store._channel.work = None  # what comes is lost
    talk.worker = two
    await talk.answer(ask["id"], "blue")
    await talk.done(turn)
    assert talk.text(turn) == "Colour?You said blue"
