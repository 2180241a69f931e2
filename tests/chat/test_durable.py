"""Durable steps: done once, whatever happens to the worker; what cannot be kept is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chat.seen import checked, folded, steps, tools
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

PAYING = """
from pathlib import Path
LINES = Path(FILE)

def note(line):
    with LINES.open("a") as file:
        file.write(line + "\\n")

@cl.step(durable=True)
async def book(seat: int):
    note(f"book {seat}")
    return {"seat": seat, "row": (1, 2)}

@cl.step(type="tool", durable=True, key=lambda order: order.number)
def pay(order):
    note("pay")
    return "paid"

class Order:
    number = "n7"

@cl.on_message
async def main(message):
    got = [await book(1), await book(2), await book(1)]
    async with cl.Step("mail", durable=True, key="mail") as mail:
        if not mail.is_kept:
            note("mail")
            mail.output = "mailed"
    got += [await cl.make_async(pay)(Order()), mail.output]
    if cl.context.turn.attempt == 1:
        await cl.Message("at the brink").send()
        await asyncio.sleep(3600)
    await cl.Message(str(got)).send()
"""


async def test_finished_steps_are_not_done_again_by_the_next_attempt(worker: Start, tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    first = await worker(PAYING.replace("FILE", repr(str(lines))))
    talk = await Talk.start(first)
    turn = await talk.say("x")
    await talk.until(lambda: "at the brink" in talk.text(turn))
    await first.die()
    await talk.move(await worker())
    await talk.done(turn)
    checked(talk)
    booked = "{'seat': 1, 'row': [1, 2]}"
    assert talk.text(turn, attempt=2) == f"[{booked}, {booked.replace('1,', '2,', 1)}, {booked}, 'paid', 'mailed']"
    assert lines.read_text().split("\n")[:-1] == ["book 1", "book 2", "book 1", "mail", "pay"]
    assert steps(talk)["book"]["status"] == steps(talk)["mail"]["status"] == "done"
    assert tools(talk)["pay"][1] == "paid"
    left = [m["content"]["name"] for m in folded(talk)["messages"] if m["role"] == "activity"]
    assert left == ["book", "book", "book", "mail"], "what the first attempt showed is superseded"


async def test_a_step_that_failed_is_done_again_and_its_retry_is_the_same_step(worker: Start, tmp_path: Path) -> None:
    source = f"""
    from pathlib import Path
    LINES = Path({str(tmp_path / "lines")!r})
    fails = [True]

    @cl.step(durable=True)
    async def flaky():
        if fails:
            fails.pop()
            raise ValueError
        with LINES.open("a") as file:
            file.write("done ")
        return 1

    @cl.on_message
    async def main(message):
        try:
            await flaky()
        except ValueError:
            await flaky()
        if cl.context.turn.attempt == 1:
            await cl.Message("at the brink").send()
            await asyncio.sleep(3600)
    """
    first = await worker(source)
    talk = await Talk.start(first)
    turn = await talk.say("x")
    await talk.until(lambda: "at the brink" in talk.text(turn))
    await first.die()
    await talk.move(await worker())
    await talk.done(turn)
    assert (tmp_path / "lines").read_text() == "done "


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("return {1, 2}", "is not JSON"),
        ("return object()", "is not JSON"),
        ("return 'x' * 300_000", "at most 262144"),
    ],
)
async def test_a_result_that_cannot_be_kept_is_refused(worker: Start, body: str, says: str) -> None:
    source = f"""
    @cl.step(durable=True)
    async def made():
        {body}

    @cl.on_message
    async def main(message):
        try:
            await made()
        except (TypeError, ValueError) as error:
            await cl.Message(str(error)).send()
    """
    talk = await Talk.start(await worker(source))
    said = await talk.ask("x")
    assert "'made'" in said
    assert says in said
    assert steps(talk)["made"]["status"] == "failed"


async def test_arguments_that_are_no_json_need_a_key(worker: Start) -> None:
    source = """
    @cl.step(durable=True)
    def made(thing): ...

    @cl.on_message
    async def main(message):
        try:
            made(object())
        except TypeError as error:
            await cl.Message(str(error)).send()
    """
    talk = await Talk.start(await worker(source))
    assert "give it a key=" in await talk.ask("x")
