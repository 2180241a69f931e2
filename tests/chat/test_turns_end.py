"""What a task does after the turn that started it has ended: nothing of that turn, and nothing of the next one."""

from __future__ import annotations

import pytest

from app.errors import OutsideTurn
from app.runtime import durable
from app.runtime.durable import DurableSteps
from tests.chat.seen import checked, customs, folded
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

AWAY = """
tasks = set()

def behind(work):
    task = asyncio.create_task(work())
    tasks.add(task)
    task.add_done_callback(tasks.discard)

async def over():
    while not cl.context.turn.is_over:
        await asyncio.sleep(0)
"""


async def test_an_ask_nobody_waits_for_ends_before_its_turn(worker: Start) -> None:
    source = """
    async def later():
        reply = await cl.AskUserMessage("Still there?").send()
        await cl.session(cl.context.session.id).send(f"got {reply}")

    @cl.on_message
    async def main(message):
        behind(later)
        await asyncio.sleep(0.05)
    """
    talk = await Talk.start(await worker(AWAY + source.replace("\n    ", "\n")))
    turn = await talk.say("x")
    ask = await talk.asked()
    await talk.done(turn)
    names = [e.get("name", e["type"]) for e in checked(talk, turn)]
    assert names[-2:] == ["parley.ask_resolved", "RUN_FINISHED"]
    assert talk.resolved() == [{"id": ask["id"], "status": "cancelled"}]
    await talk.until(lambda: "got None" in str(talk.frames))
    await talk.answer(ask["id"], "too late")
    await talk.ask("y")
    assert folded(talk)["messages"][-1]["content"] != "too late"


async def test_an_ask_after_the_turn_is_refused(worker: Start) -> None:
    source = """
    async def later():
        await over()
        for ask in (cl.AskUserMessage("Still there?"), cl.AskActionMessage("This?", [cl.Action("yes")])):
            try:
                await ask.send()
            except cl.OutsideTurn as error:
                await cl.Message(f"refused: {error}").send()

    @cl.on_message
    async def main(message):
        behind(later)
    """
    talk = await Talk.start(await worker(AWAY + source.replace("\n    ", "\n")))
    turn = await talk.say("x")
    await talk.done(turn)
    await talk.until(lambda: str(talk.frames).count("refused: the turn has ended") == 2)
    assert customs(talk, "ask") == []
    assert "Still there?" not in str(talk.frames)


async def test_a_step_that_outlives_its_turn_is_not_kept_for_the_next(worker: Start) -> None:
    source = """
    done = asyncio.Event()

    @cl.step(durable=True)
    async def slow():
        await over()
        return "late"

    async def later():
        try:
            await slow()
        except cl.OutsideTurn:
            done.set()

    @cl.on_message
    async def main(message):
        if message.content == "begin":
            behind(later)
            await asyncio.sleep(0.05)
        else:
            await done.wait()
            await cl.Message("refused").send()
    """
    made = await worker(AWAY + source.replace("\n    ", "\n"))
    talk = await Talk.start(made)
    await talk.done(await talk.say("begin"))
    assert await talk.ask("go on") == "refused"


async def test_durable_steps_refuse_when_their_turn_is_over() -> None:
    steps = DurableSteps(None, {})  # type: ignore[arg-type]  # it refuses before it would write
    steps.begin(key := steps.key("a", {}))
    steps.close()
    with pytest.raises(OutsideTurn, match="the turn has ended"):
        await steps.finish(key, 1)


MANY = """
@cl.step(durable=True)
async def made(n, size=0):
    return "x" * size

@cl.on_message
async def main(message):
    count, size = map(int, message.content.split())
    done = 0
    try:
        for n in range(count):
            await made(n, size)
            done += 1
    except ValueError as error:
        await cl.Message(f"{done}: {error}").send()
    else:
        await cl.Message(f"{done}").send()
"""


async def test_a_turns_durable_steps_are_bounded(worker: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "MOST_STEPS", 5)
    monkeypatch.setattr(durable, "STEPS_BYTES", 100_000)
    talk = await Talk.start(await worker(MANY))
    assert await talk.ask("5 10") == "5"
    assert await talk.ask("6 10") == "5: a turn has at most 5 durable steps: do several things in one step"
    assert (await talk.ask("5 40000")).startswith("3: the results of this turn's durable steps have 120006 bytes")


def test_steps_of_earlier_attempts_count_and_failed_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durable, "MOST_STEPS", 3)
    kept = {"a.1": b"1"}
    steps = DurableSteps(None, kept)  # type: ignore[arg-type]  # nothing is written
    for _ in range(5):
        key = steps.key("flaky", {})
        assert key.endswith(".1")
        steps.begin(key)
        steps.failed(key)
    for n in range(2):
        steps.begin(steps.key("fine", {"n": n}))
    for _ in range(2):
        with pytest.raises(ValueError, match="at most 3 durable steps"):
            steps.begin(steps.key("fine", {"n": 2}))
    assert steps.key("fine", {"n": 2}).endswith(".1"), "what was refused has no place among its equals"
