"""Buttons: shown with their message, pressed in a turn of their own, taken away one by one."""

from __future__ import annotations

import pytest

from app.chat.action import Action, shown_actions
from app.errors import HandlersError
from tests.chat.seen import checked, customs, folded
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

ORDERING = """
@cl.on_message
async def main(message):
    answer = cl.Message("Buy?", actions=[
        cl.Action("buy", {"order": 1}, "Buy it", "now", "cart"),
        cl.Action("buy", {"order": 2}),
        cl.Action("drop"),
    ])
    if message.content == "stream":
        answer.content = ""
        await answer.stream_token("Buy")
        await answer.stream_token("?")
    await answer.send()

@cl.action_callback("buy")
async def buy(action: cl.Action):
    await action.remove()
    await cl.Message(f"bought {action.payload['order']}").send()

@cl.action_callback("drop")
def drop():
    cl.run_sync(cl.Message("dropped").send())
"""


def buttons(talk: Talk) -> list[tuple[str, object]]:
    (message,) = [m for m in folded(talk)["messages"] if m["content"] == "Buy?"]
    return [(b["name"], b["payload"].get("order")) for b in message["metadata"]["parley"]["actions"]]


async def press(talk: Talk, name: str, payload: dict[str, object]) -> str:
    (message,) = [m for m in folded(talk)["messages"] if m["content"] == "Buy?"]
    accepted = await talk.send({"type": "action", "name": name, "payload": payload, "for": message["id"]})
    assert accepted.turn is not None
    await talk.done(accepted.turn)
    checked(talk)
    return talk.text(accepted.turn)


@pytest.mark.parametrize("said", ["send", "stream"])
async def test_a_button_is_shown_pressed_and_taken_away(worker: Start, said: str) -> None:
    talk = await Talk.start(await worker(ORDERING))
    await talk.ask(said)
    assert buttons(talk) == [("buy", 1), ("buy", 2), ("drop", None)]
    first = customs(talk, "actions")[0]["actions"][0]
    assert first == {"name": "buy", "label": "Buy it", "tooltip": "now", "payload": {"order": 1}, "icon": "cart"}
    assert await press(talk, "buy", {"order": 1}) == "bought 1"
    assert buttons(talk) == [("buy", 2), ("drop", None)]
    assert await press(talk, "drop", {}) == "dropped"


async def test_a_message_is_one_append_with_its_buttons(worker: Start) -> None:
    talk = await Talk.start(await worker(ORDERING))
    turn = await talk.say("x")
    await talk.done(turn)
    assert len(talk.frames) == 1


async def test_a_button_is_pressed_at_another_worker(worker: Start) -> None:
    first = await worker(ORDERING)
    talk = await Talk.start(first)
    await talk.ask("x")
    await first.stop()
    await talk.move(await worker())
    assert await press(talk, "buy", {"order": 2}) == "bought 2"
    assert buttons(talk) == [("buy", 1), ("drop", None)]


async def test_an_update_changes_the_buttons(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        answer = cl.Message("Buy?", actions=[cl.Action("buy")])
        await answer.send()
        await answer.update()
        answer.actions = []
        await answer.update()
    """
    talk = await Talk.start(await worker(source))
    await talk.ask("x")
    assert [len(value["actions"]) for value in customs(talk, "actions")] == [1, 0]


async def test_two_callbacks_of_one_name_do_not_load(worker: Start) -> None:
    source = """
    @cl.action_callback("buy")
    async def one(): ...

    @cl.action_callback("buy")
    async def two(): ...
    """
    with pytest.raises(HandlersError, match="already has a handler for action:buy"):
        await worker(source)


async def test_too_many_buttons_are_refused(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        try:
            await cl.Message("Buy?", actions=[cl.Action(str(i)) for i in range(33)]).send()
        except ValueError as error:
            await cl.Message(str(error)).send()
    """
    talk = await Talk.start(await worker(source))
    assert await talk.ask("x") == "33 actions under one message, at most 32"
    with pytest.raises(ValueError, match="label has at most 256"):
        Action("a", label="x" * 257)
    with pytest.raises(ValueError, match="needs 1 to 256"):
        Action("")
    with pytest.raises(ValueError, match="at most 65536"):
        shown_actions("m", [Action("a", {"x": "y" * 70_000})])
