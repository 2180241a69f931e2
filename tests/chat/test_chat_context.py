"""The conversation as a language model is given it: what was said, and only that, from whichever worker."""

from __future__ import annotations

from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

MODEL = """
@cl.on_message
async def main(message):
    if message.content == "fail":
        await cl.ErrorMessage("The model is not there.").send()
    elif message.content == "work":
        async with cl.Step("thinking", "llm") as step:
            step.output = "hm"
        async with cl.Step("search", "tool", input={"q": 1}) as tool:
            tool.output = "hits"
        await cl.Message().send()
        draft = cl.Message("draft")
        await draft.send()
        await draft.remove()
        final = cl.Message("wrong", metadata={"error": "not what it is called"})
        await final.send()
        final.content = "worked"
        await final.update()
    else:
        said = cl.chat_context.to_openai()
        await cl.Message("|".join(f"{m['role'][0]}:{m['content']}" for m in said)).send()
"""


async def test_a_model_is_given_what_was_said_and_no_error(worker: Start) -> None:
    first = await worker(MODEL)
    talk = await Talk.start(first)
    for said in ("fail", "work"):
        await talk.done(await talk.say(said))
    expected = "u:fail|u:work|a:worked|u:now"
    assert await talk.ask("now") == expected
    await first.stop()
    await talk.move(await worker())
    assert await talk.ask("there") == f"{expected}|a:{expected}|u:there"


async def test_it_is_bounded(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        for n in range(250):
            await cl.Message(str(n)).send()
        said = cl.chat_context.to_openai()
        await cl.Message(f"{len(said)} {said[0]['content']} {said[-1]['content']} {len(cl.chat_context.get())}").send()
    """
    talk = await Talk.start(await worker(source))
    assert (await talk.ask("x")).endswith("200 50 249 200")
