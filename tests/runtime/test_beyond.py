"""What reaches beyond a turn: background tasks, sends from outside, the conversation so far, shared state."""

from __future__ import annotations

from typing import Any

import app as cl
from app.runtime.history import fold_all
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk


async def test_a_task_that_outlives_its_turn_sends_outside_it(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        async def later():
            while not cl.context.turn.is_over:
                await asyncio.sleep(0)
            await cl.Message("afterwards", author="clock").send()
        main.task = asyncio.create_task(later())
        await cl.Message("at once").send()
    """
    talk = await Talk.start(await worker(source))
    turn = await talk.say("x")
    await talk.done(turn)
    await talk.until(lambda: "afterwards" in str(talk.frames))
    pushed = [frame for frame in talk.frames if frame["turn"] is None]
    assert [e["type"] for f in pushed for e in f["events"]] == [
        "TEXT_MESSAGE_START",
        "TEXT_MESSAGE_CONTENT",
        "TEXT_MESSAGE_END",
    ]
    assert pushed[0]["events"][0]["name"] == "clock"
    assert talk.text(turn) == "at once"


async def test_a_drain_cancels_what_handlers_started(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        async def forever():
            try:
                await asyncio.sleep(3600)
            finally:
                main.ended = True
        main.task = asyncio.create_task(forever())
        await asyncio.sleep(0)
    """
    made = await worker(source)
    talk = await Talk.start(made)
    await talk.done(await talk.say("x"))
    background = made.supervisor._background._tasks
    assert len(background) == 1
    await made.supervisor.drain(1)
    assert not background


async def test_code_outside_every_turn_can_send(worker: Start) -> None:
    source = "@cl.on_message\nasync def main(message):\n    await asyncio.sleep(3600)\n"
    talk = await Talk.start(await worker(source))
    turn = await talk.say("x")
    await talk.until(lambda: talk.events(turn))
    await cl.session(talk.session).send("news", author="desk")
    await talk.until(lambda: "news" in str(talk.frames))
    assert talk.end_of(turn) is None
    await talk.cancel()
    await talk.done(turn)


async def test_the_conversation_so_far_is_at_hand(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        said = cl.chat_context.to_openai()
        await cl.Message(" ".join(m["role"][0] + ":" + m["content"] for m in said)).send()
    """
    talk = await Talk.start(await worker(source))
    assert await talk.ask("one") == "u:one"
    assert await talk.ask("two") == "u:one a:u:one u:two"


STATE = """
from pydantic import BaseModel, Field

class Board(BaseModel):
    count: int = Field(default=0, le=10)
    names: dict[str, str] = {}

board = cl.state(Board, clients_may_change=True)

@cl.on_message
async def main(message):
    async with board.change() as value:
        value.count += 1
        value.names["a/b"] = message.content
    await cl.Message(str(board.value.count)).send()
"""


async def patch(talk: Talk, *operations: dict[str, Any]) -> str:
    accepted = await talk.send({"type": "state", "patch": list(operations)})
    assert accepted.turn is not None
    return accepted.turn


async def test_shared_state_is_followed_by_its_changes(worker: Start) -> None:
    first = await worker(STATE)
    talk = await Talk.start(first)
    assert [await talk.ask("x"), await talk.ask("y")] == ["1", "2"]
    snapshot, delta = [e for e in talk.events() if e["type"].startswith("STATE")]
    assert snapshot == {"type": "STATE_SNAPSHOT", "snapshot": {"count": 1, "names": {"a/b": "x"}}}
    assert delta["delta"] == [
        {"op": "replace", "path": "/count", "value": 2},
        {"op": "replace", "path": "/names/a~1b", "value": "y"},
    ]
    await first.stop()
    second = await worker()
    await talk.move(second)
    assert await talk.ask("z") == "3"
    fold = await fold_all(second.store, talk.session)
    assert fold.snapshot()["state"] == {"count": 3, "names": {"a/b": "z"}}


async def test_clients_change_shared_state_within_what_the_model_allows(worker: Start) -> None:
    made = await worker(STATE)
    talk = await Talk.start(made)
    await talk.done(await patch(talk, {"op": "replace", "path": "/count", "value": 7}))
    assert await talk.ask("x") == "8"
    for bad in ({"op": "replace", "path": "/count", "value": 11}, {"op": "remove", "path": "/nothing"}):
        await talk.done(await patch(talk, bad))
    toasts = [e["value"]["message"] for e in talk.events() if e.get("name") == "parley.toast"]
    assert len(toasts) == 2
    assert (await fold_all(made.store, talk.session)).snapshot()["state"]["count"] == 8


async def test_a_state_that_clients_may_not_change_stays(worker: Start) -> None:
    talk = await Talk.start(await worker(STATE.replace(", clients_may_change=True", "")))
    end = await talk.done(await patch(talk, {"op": "replace", "path": "/count", "value": 7}))
    assert end["code"] == "handler_error"
    assert await talk.ask("x") == "1"
