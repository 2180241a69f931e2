"""What Chainlit's authors are used to, beyond what has a file of its own; and what is refused instead of lost."""

from __future__ import annotations

from tests.chat.seen import checked, customs, folded
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk


async def test_a_sequence_replaces_what_was_streamed(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        answer = cl.Message()
        for token in ("a", "b"):
            await answer.stream_token(token)
        await answer.stream_token("new", is_sequence=True)
        await answer.stream_token("er")
        await answer.send()
        sent = cl.Message("whole")
        await sent.send()
        await sent.stream_token("another", is_sequence=True)
        await sent.update()
        first = cl.Message()
        await first.stream_token("at once", is_sequence=True)
        await first.send()
    """
    talk = await Talk.start(await worker(source))
    await talk.ask("x")
    checked(talk)
    said = [m["content"] for m in folded(talk)["messages"] if m["role"] == "assistant"]
    assert said == ["newer", "another", "at once"]


async def test_an_element_is_shown_to_be_filled_in_and_asked_for_once(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        form = cl.CustomElement("Form", {"fields": ["name"]})
        reply = await cl.AskElementMessage("Fill it in", form, timeout=60).send()
        await cl.Message(str(reply)).send()
        if cl.context.turn.attempt == 1:
            await asyncio.sleep(3600)
    """
    first = await worker(source)
    talk = await Talk.start(first)
    turn = await talk.say("x")
    ask = await talk.asked()
    (shown,) = customs(talk, "element")
    assert (shown["type"], shown["name"], shown["props"]) == ("custom", "Form", {"fields": ["name"]})
    assert (ask["kind"], ask["schema"]) == ("element", {"element": shown["id"]})
    await talk.answer(ask["id"], {"name": "Ann"})
    await talk.until(lambda: "Ann" in talk.text(turn))
    await first.die()
    await talk.move(await worker())
    await talk.done(turn)
    assert talk.text(turn, attempt=2).endswith("{'name': 'Ann', 'submitted': True}")
    assert len(customs(talk, "ask")) == 1, "the next attempt has the answer"


async def test_types_of_files_are_a_list_and_a_single_one_is_one(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        await cl.AskFileMessage("Which?", accept="text/csv", timeout=0.01).send()
        await cl.AskFileMessage("Which?", accept={"text/plain": [".txt"]}, timeout=0.01).send()
    """
    talk = await Talk.start(await worker(source))
    await talk.done(await talk.say("x"))
    assert [ask["schema"]["accept"] for ask in customs(talk, "ask")] == [["text/csv"], ["text/plain"]]


async def test_what_belongs_to_a_turn_that_has_ended_is_refused(worker: Start) -> None:
    source = """
    from pydantic import BaseModel

    class Board(BaseModel):
        n: int = 0

    board = cl.state(Board)
    said = []

    async def change_board():
        async with board.change() as value:
            value.n = 5

    async def put():
        cl.user_session["late"] = 1

    async def later():
        while not cl.context.turn.is_over:
            await asyncio.sleep(0)
        for attempt in (put, change_board, cl.ChatSettings([cl.Switch("s", "S")]).send, cl.user_session.commit):
            try:
                await attempt()
                said.append(f"{attempt} did it")
            except cl.OutsideTurn as error:
                said.append("refused")
        await cl.session(cl.context.session.id).send("tried")

    @cl.on_message
    async def main(message):
        if message.content == "begin":
            main.task = asyncio.create_task(later())
        else:
            values = [cl.user_session.get(name) for name in ("late", "parley:state", "chat_settings")]
            await cl.Message(f"{said} {values}").send()
    """
    talk = await Talk.start(await worker(source))
    await talk.done(await talk.say("begin"))
    await talk.until(lambda: "tried" in str(talk.frames))
    assert await talk.ask("look") == f"{['refused'] * 4} [None, None, None]"


async def test_a_step_is_taken_away_also_in_a_later_turn(worker: Start) -> None:
    source = """
    shown = []

    @cl.on_message
    async def main(message):
        if message.content == "show":
            for kind in ("run", "tool"):
                async with cl.Step(kind, kind) as step:
                    step.output = "done"
                shown.append(step)
            shown.append(await cl.Step("open").send())
        else:
            for step in shown:
                await step.remove()
    """
    talk = await Talk.start(await worker(source))
    await talk.done(await talk.say("show"))
    assert len(folded(talk)["messages"]) == 5
    end = await talk.done(await talk.say("remove"))
    assert end["type"] == "RUN_FINISHED"
    checked(talk)
    assert [m["role"] for m in folded(talk)["messages"]] == ["user", "user"]
