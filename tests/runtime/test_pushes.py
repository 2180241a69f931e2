"""What is pushed into a session from outside: shown at once, once and in order, whoever owns the session."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.errors import NoSuchSession, NotYours, SessionEnded
from app.protocol.codec import body_of, checksum
from app.protocol.pushes import Push
from app.store import redis as store_module
from app.store.base import NewInput, Pushed, Refused
from app.store.keys import meta
from tests.runtime.conftest import Start
from tests.runtime.stage import Frame, Talk, Worker
from tests.support.valkey import ValkeyProcess

WAITS = """
gate = asyncio.Event()

@cl.on_message
async def main(message):
    answer = cl.Message()
    await answer.stream_token("on it")
    if message.content == "open":
        gate.set()
    await gate.wait()
    await answer.stream_token(", done")
    await answer.send()
"""

ECHO = """
@cl.on_message
async def main(message):
    await cl.Message("Received: " + message.content).send()
"""

RESUMES = """
@cl.on_chat_resume
async def resume(thread):
    cl.user_session["history"] = [m["content"] for m in thread["messages"]]
@cl.on_message
async def main(message):
    await cl.Message(str(cl.user_session.get("history"))).send()
"""


async def push(
    worker: Worker, session: str, text: str, *, key: str | None = None, user: str | None = "ann"
) -> Pushed | Refused:
    body = body_of(Push(content=text, author="ci"))
    new = NewInput(0, "push", body, checksum(body), "", f"message of {text}")
    return await worker.store.push(session, user, new, key)


async def shown(worker: Worker, session: str, text: str, **options: Any) -> Pushed:
    pushed = await push(worker, session, text, **options)
    assert isinstance(pushed, Pushed), pushed
    return pushed


def pushes(talk: Talk) -> list[str]:
    """The texts of what was shown outside any turn."""
    return [e["delta"] for e in talk.events() if e in outside(talk) and e["type"] == "TEXT_MESSAGE_CONTENT"]


def outside(talk: Talk) -> list[Frame]:
    return [event for frame in talk.frames if frame["turn"] is None for event in frame["events"]]


async def test_a_push_to_a_session_that_nobody_runs_is_one_append_and_lets_it_go(worker: Start) -> None:
    made = await worker(ECHO)
    talk = await Talk.start(made)
    assert await shown(made, talk.session, "hello") == Pushed(1, "message of hello", duplicate=False)
    await talk.until(lambda: pushes(talk))
    (frame,) = talk.frames
    assert (frame["turn"], frame["attempt"]) == (None, 0)
    assert frame["events"] == [
        {"type": "TEXT_MESSAGE_START", "messageId": "message of hello", "role": "assistant", "name": "ci"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "message of hello", "delta": "hello"},
        {"type": "TEXT_MESSAGE_END", "messageId": "message of hello"},
    ]
    await made.idle()
    assert await made.store.inbox(talk.session) == []
    assert await talk.ask("still here") == "Received: still here"


async def test_a_push_shows_while_a_turn_runs_and_does_not_touch_it(worker: Start) -> None:
    made = await worker(WAITS)
    talk = await Talk.start(made)
    turn = await talk.say("first")
    await talk.until(lambda: talk.text(turn) == "on it")
    await shown(made, talk.session, "meanwhile")
    await talk.until(lambda: pushes(talk))
    assert talk.end_of(turn) is None
    assert await made.store.inbox(talk.session) != []
    queued = await talk.say("open")
    await talk.cancel(turn)
    await talk.done(turn)
    assert (await talk.done(queued))["type"] == "RUN_FINISHED"
    assert talk.text(queued) == "on it, done"
    assert pushes(talk) == ["meanwhile"]


async def test_a_push_through_another_worker_reaches_the_one_that_runs_the_session(worker: Start) -> None:
    owner, other = await worker(WAITS), await worker()
    talk = await Talk.start(owner)
    turn = await talk.say("x")
    await talk.until(lambda: talk.text(turn) == "on it")
    await shown(other, talk.session, "from elsewhere")
    await talk.until(lambda: pushes(talk) == ["from elsewhere"])
    assert other.supervisor.running == 0
    await talk.cancel(turn)
    await talk.done(turn)


async def test_fifty_at_once_are_shown_in_the_order_of_their_acceptance(worker: Start) -> None:
    workers = [await worker(WAITS), await worker()]
    talk = await Talk.start(workers[0])
    turn = await talk.say("x")
    await talk.until(lambda: talk.text(turn) == "on it")
    calls = (shown(workers[n % 2], talk.session, f"p{n}") for n in range(50))
    accepted = await asyncio.gather(*calls)
    await talk.until(lambda: len(pushes(talk)) == 50)
    order = sorted(range(50), key=lambda n: accepted[n].index)
    assert pushes(talk) == [f"p{n}" for n in order]
    assert [i.kind for i in await workers[0].store.inbox(talk.session)] == ["message"]
    await talk.cancel(turn)
    await talk.done(turn)
    assert len(pushes(talk)) == 50


async def test_fifty_at_once_into_a_session_that_nobody_runs(worker: Start) -> None:
    made = await worker(ECHO)
    talk = await Talk.start(made)
    accepted = await asyncio.gather(*(shown(made, talk.session, f"p{n}") for n in range(50)))
    await talk.until(lambda: len(pushes(talk)) == 50)
    await made.idle()
    assert pushes(talk) == [f"p{n}" for n in sorted(range(50), key=lambda n: accepted[n].index)]
    assert await made.store.inbox(talk.session) == []


async def test_a_push_that_a_dead_owner_left_is_shown_by_the_next_one(worker: Start) -> None:
    first = await worker(WAITS)
    talk = await Talk.start(first)
    turn = await talk.say("x")
    await talk.until(lambda: talk.text(turn) == "on it")
    outsider = await worker()
    await first.die()
    await shown(outsider, talk.session, "to a dead one")
    await talk.move(outsider)
    await talk.until(lambda: talk.text(turn, attempt=2) == "on it")
    assert pushes(talk) == ["to a dead one"]
    await talk.cancel(turn)
    assert (await talk.done(turn))["code"] == "cancelled"
    await outsider.idle()
    assert pushes(talk) == ["to a dead one"]


async def test_a_push_whose_owner_died_before_it_was_written_is_shown_once(
    worker: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await worker(ECHO)
    talk = await Talk.start(first)
    hangs = asyncio.Event()

    async def append(*_: object) -> None:
        hangs.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(first.store, "append", append)
    await shown(first, talk.session, "unwritten")
    await hangs.wait()
    await first.die()
    second = await worker()
    await talk.move(second)
    await talk.until(lambda: pushes(talk))
    await second.idle()
    assert pushes(talk) == ["unwritten"]
    assert await second.store.inbox(talk.session) == []


async def test_a_push_among_a_stream_of_turns_waits_for_none_of_them(worker: Start) -> None:
    made = await worker(WAITS)
    talk = await Talk.start(made)
    first, *queued = [await talk.say(f"m{n}") for n in range(5)]
    await talk.until(lambda: talk.text(first) == "on it")
    await shown(made, talk.session, "before them")
    await talk.until(lambda: pushes(talk))
    last = await talk.say("open")
    for turn in (first, *queued):
        await talk.cancel(turn)
        await talk.done(turn)
    await talk.done(last)
    begun = [e["runId"] for e in talk.events() if e["type"] == "RUN_STARTED"]
    assert begun == [first, *queued, last]


async def test_a_worker_that_only_showed_a_push_has_not_resumed_the_session(worker: Start) -> None:
    first = await worker(RESUMES)
    talk = await Talk.start(first)
    await talk.ask("one")
    await first.idle()
    second = await worker()
    await talk.move(second)
    await shown(second, talk.session, "a push")
    await talk.until(lambda: pushes(talk))
    await second.idle()
    assert await talk.ask("two") == "['one', 'None', 'a push']"


async def test_a_push_is_part_of_what_a_later_client_finds(worker: Start) -> None:
    made = await worker(RESUMES, log_events=100)
    talk = await Talk.start(made)
    for n in range(60):  # more than the log keeps: it is folded on the way
        await shown(made, talk.session, f"p{n}")
        await made.idle()
    await made.stop()
    other = await worker()
    await talk.move(other)
    assert (await talk.ask("x")).startswith("['p0', 'p1', ")


async def test_what_could_not_be_shown_is_refused_to_the_agent_that_sends_it(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        handle = cl.session(cl.context.session.id)
        for metadata in ({"a": "x" * 600_000}, {"a": {"b": object()}}):
            try:
                await handle.send("hello", metadata=metadata)
            except (TypeError, ValueError) as error:
                await cl.Message(type(error).__name__ + " ").send()
        await handle.send("fine", metadata={"a": 1})
    """
    made = await worker(source)
    talk = await Talk.start(made)
    assert await talk.ask("x") == "ValueError ValueError "
    await talk.until(lambda: pushes(talk))
    await made.idle()
    assert pushes(talk) == ["fine"]


# ---- keys


async def test_the_same_key_keeps_one_and_a_conflicting_body_none(worker: Start) -> None:
    made = await worker(ECHO)
    talk = await Talk.start(made)
    first = await shown(made, talk.session, "once", key="k1")
    await talk.until(lambda: pushes(talk))
    await made.idle()
    again = await shown(made, talk.session, "once", key="k1")
    assert again == Pushed(first.index, first.id, duplicate=True)
    assert await push(made, talk.session, "other", key="k1") == Refused("conflict")
    await shown(made, talk.session, "once", key="k2")
    await talk.until(lambda: len(pushes(talk)) == 2)
    await made.idle()
    assert pushes(talk) == ["once", "once"]


async def test_the_same_key_at_once_from_two_workers_keeps_one(worker: Start) -> None:
    workers = [await worker(ECHO), await worker()]
    talk = await Talk.start(workers[0])
    answers = await asyncio.gather(*(shown(workers[n % 2], talk.session, "once", key="k") for n in range(10)))
    assert sorted(a.duplicate for a in answers) == [False] + [True] * 9
    assert len({(a.index, a.id) for a in answers}) == 1
    await talk.until(lambda: pushes(talk))
    for made in workers:
        await made.idle()
    assert pushes(talk) == ["once"]


async def test_a_key_that_has_expired_is_a_new_one(worker: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "KEY_LIFETIME_MS", 1)
    made = await worker(ECHO)
    talk = await Talk.start(made)
    first = await shown(made, talk.session, "x", key="k")
    await asyncio.sleep(0.01)
    assert not (await shown(made, talk.session, "y", key="k")).duplicate
    await talk.until(lambda: len(pushes(talk)) == 2)
    assert first.index == 1


async def test_keys_are_bounded_and_the_oldest_go_first(
    worker: Start, shared_valkey: ValkeyProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_module, "REMEMBERED_KEYS", 20)
    made = await worker(ECHO)
    talk = await Talk.start(made)
    for n in range(21):
        await shown(made, talk.session, "x", key=f"k{n}")
        await asyncio.sleep(0.002)  # their expiries are milliseconds
    repeated = [(await shown(made, talk.session, "x", key=f"k{n}")).duplicate for n in (20, 2, 1, 0)]
    assert repeated == [True, True, False, False]
    await talk.until(lambda: len(pushes(talk)) == 23)
    for n in range(100):
        await shown(made, talk.session, f"without {n}")
    with shared_valkey.client() as client:
        kept = [field for field in client.hkeys(meta(talk.session).replace(":m:", ":d:")) if "idem/" in field]
    assert len(kept) <= 20
    # those without a key go first: what was promised for a day stays
    assert (await shown(made, talk.session, "x", key="k20")).duplicate


# ---- refusals


async def test_whose_session_it_is_and_whether_it_is_there(worker: Start) -> None:
    made = await worker(ECHO)
    talk = await Talk.start(made)
    with pytest.raises(NotYours):
        await push(made, talk.session, "x", user="bob")
    with pytest.raises(NoSuchSession):
        await push(made, "no such session", "x")
    await shown(made, talk.session, "from anybody", user=None)
    await talk.end()
    async with asyncio.timeout(10):
        await talk.is_over.wait()
    with pytest.raises(SessionEnded):
        await push(made, talk.session, "x")
    with pytest.raises(NotYours):
        await push(made, talk.session, "x", user="bob")


async def test_a_full_inbox_refuses_and_the_key_is_not_used_up(worker: Start) -> None:
    made = await worker(WAITS, inbox_size=1)
    talk = await Talk.start(made)
    turn = await talk.say("x")
    assert await push(made, talk.session, "p", key="k") == Refused("busy", limit="size")
    await talk.cancel(turn)
    await talk.done(turn)
    assert not (await shown(made, talk.session, "p", key="k")).duplicate
    await talk.until(lambda: pushes(talk) == ["p"])


async def test_a_call_that_is_sent_again_since_its_answer_was_lost_is_one_push(worker: Start) -> None:
    made = await worker(ECHO)
    talk = await Talk.start(made)
    run = made.store._batcher.run

    async def twice(script: Any, *args: Any, **kwargs: Any) -> Any:
        if script.name == "push":
            await run(script, *args, **kwargs)
        return await run(script, *args, **kwargs)

    made.store._batcher.run = twice  # type: ignore[method-assign, assignment]
    await push(made, talk.session, "once")
    await talk.until(lambda: pushes(talk))
    await made.idle()
    assert pushes(talk) == ["once"]
