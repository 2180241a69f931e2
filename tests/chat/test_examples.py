"""The examples of docs/api.md: what they show is AG-UI, the same on two workers, and whole for who comes later."""

from __future__ import annotations

import pytest

from app.runtime.history import fold_all
from tests.chat.seen import checked, folded
from tests.runtime.conftest import Start
from tests.runtime.stage import Frame, Talk
from tests.test_docs import Block, blocks

ANSWERS: dict[str, object] = {"text": "yes", "element": {}}
"""What is answered to an ask of this kind; to another, its first option."""


async def answered(talk: Talk, turn: str) -> None:
    """Wait for a turn's end, and answer what it asks."""
    done: list[str] = []

    def waiting() -> list[Frame]:
        asks = [e["value"] for e in talk.events() if e.get("name") == "parley.ask"]
        return [ask for ask in asks if ask["id"] not in done]

    while not talk.end_of(turn):
        await talk.until(lambda: talk.end_of(turn) or waiting())
        for ask in waiting():
            value = ANSWERS[ask["kind"]] if ask["kind"] in ANSWERS else ask["options"][0]["name"]
            done.append(ask["id"])
            await talk.answer(ask["id"], value)
    await talk.done(turn)


EXAMPLES = [block for block in blocks("python agent") if block.page == "docs/api.md"]


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: block.info.split()[2])
async def test_an_example_is_seen_alike_by_two_clients_on_two_workers(keeping: Start, block: Block) -> None:
    first = await keeping(block.text)
    second = await keeping()
    talk = await Talk.start(first, start="start" if "@cl.on_chat_start" in block.text else "")
    other = Talk(second, talk.session)
    await other.move(second)
    turn = await talk.say("hello")
    await answered(talk, turn)
    await other.done(turn)
    assert other.frames == talk.frames
    assert len(checked(talk)) > 2
    later = await fold_all(second.store, talk.session)
    assert later.snapshot() == folded(talk)
