"""An earlier message of the user is edited: what came after it goes, and its turn is run anew."""

from __future__ import annotations

from app.runtime.history import fold_all
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

ECHO = """
@cl.on_message
async def main(message: cl.Message):
    await cl.Message(f"Received: {message.content}").send()
"""


async def conversation(talk: Talk) -> list[tuple[str, str]]:
    fold = await fold_all(talk.worker.store, talk.session)
    return [(m["role"], m["content"]) for m in fold.snapshot()["messages"]]


async def test_an_edit_takes_back_what_came_after_and_answers_anew(worker: Start) -> None:
    talk = await Talk.start(await worker(ECHO))
    for word in ("one", "two", "three"):
        await talk.ask(word)
    second = [e["messageId"] for e in talk.events() if e.get("role") == "user"][1]
    turn = await talk.edit(second, "zwei")
    await talk.done(turn)
    assert await conversation(talk) == [
        ("user", "one"),
        ("assistant", "Received: one"),
        ("user", "zwei"),
        ("assistant", "Received: zwei"),
    ]


async def test_only_a_message_of_the_user_can_be_edited(worker: Start) -> None:
    talk = await Talk.start(await worker(ECHO))
    await talk.ask("one")
    before = await conversation(talk)
    answer = next(e["messageId"] for e in talk.events() if e.get("role") == "assistant")
    for target in (answer, "no-such-message"):
        end = await talk.done(await talk.edit(target, "changed"))
        assert end["code"] == "rejected"
    assert await conversation(talk) == before
