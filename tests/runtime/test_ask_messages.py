"""What authors ask with: words, buttons, an element; in Chainlit's shapes."""

from __future__ import annotations

from typing import Any

import pytest

from app.chat.ask import AskElementMessage
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

SOURCE = """
import json

ASKS = {
    "words": lambda: cl.AskUserMessage("Your name?"),
    "buttons": lambda: cl.AskActionMessage("Go on?", [
        cl.Action("yes", {"value": 1}, "Yes"), cl.Action("no", {"value": 0})]),
    "element": lambda: cl.AskElementMessage("Fill in", schema={"type": "object"}),
    "short": lambda: cl.AskUserMessage("Quick!", timeout=0.05),
    "strict": lambda: cl.AskUserMessage("Quick!", timeout=0.05, raise_on_timeout=True),
}

@cl.on_message
async def main(message):
    try:
        reply = await ASKS[message.content]().send()
    except TimeoutError as error:
        reply = str(error)
    if isinstance(reply, dict):
        reply.pop("id", None)
        reply.pop("forId", None)
    await cl.Message("=" + json.dumps(reply)).send()
"""


@pytest.mark.parametrize(
    ("kind", "answer", "reply"),
    [
        ("words", "Ann", '{"name": "user", "type": "user_message", "output": "Ann"}'),
        ("buttons", {"name": "yes"}, '{"name": "yes", "label": "Yes", "tooltip": "", "payload": {"value": 1}}'),
        ("buttons", "no", '{"name": "no", "label": "no", "tooltip": "", "payload": {"value": 0}}'),
        ("element", {"a": 1}, '{"a": 1, "submitted": true}'),
    ],
)
async def test_a_reply_has_the_shape_authors_know(worker: Start, kind: str, answer: Any, reply: str) -> None:
    talk = await Talk.start(await worker(SOURCE))
    turn = await talk.say(kind)
    ask = await talk.asked()
    await talk.answer(ask["id"], answer)
    await talk.done(turn)
    assert talk.text(turn).endswith("=" + reply)
    assert talk.text(turn).startswith(ask["prompt"])


def test_an_object_is_no_element() -> None:
    props: Any = {"fields": ["name"]}
    with pytest.raises(TypeError, match=r"element is a dict, .* CustomElement\(name, props\)"):
        AskElementMessage("Fill in", props)


@pytest.mark.parametrize(("kind", "reply"), [("short", "null"), ("strict", '"nobody answered within 0.05 s"')])
async def test_nobody_answers(worker: Start, kind: str, reply: str) -> None:
    talk = await Talk.start(await worker(SOURCE))
    assert (await talk.ask(kind)).endswith("=" + reply)


async def test_a_button_that_was_not_offered_is_no_answer(worker: Start) -> None:
    talk = await Talk.start(await worker(SOURCE))
    turn = await talk.say("buttons")
    ask = await talk.asked()
    assert [option["name"] for option in ask["options"]] == ["yes", "no"]
    await talk.answer(ask["id"], "maybe")
    await talk.until(lambda: "parley.toast" in str(talk.frames))
    await talk.decline(ask["id"])
    await talk.done(turn)
    assert talk.text(turn).endswith("=null")
