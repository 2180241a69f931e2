"""Typical agents in one module, typed as an author would: mypy and pyright, both strict, have nothing to say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, assert_type

from pydantic import BaseModel

import app as cl

# ---- hooks and messages


@cl.on_chat_start
async def start() -> None:
    cl.user_session["count"] = 0
    values = await cl.ChatSettings(
        [
            cl.Select("model", "Model", values=["small", "large"], initial_index=0),
            cl.Tab("more", "More", inputs=[cl.Slider("heat", "Heat", max=1), cl.Tags("tags", "Tags", initial=["a"])]),
            cl.DatePicker("since", "Since", mode="range"),
        ]
    ).send()
    assert_type(values, dict[str, Any])


@cl.on_message(policy="interrupt", retry=False, timeout=30)
async def main(message: cl.Message) -> None:
    answer = cl.Message(author="bot", metadata={"a": 1}, actions=[cl.Action("more", {"page": 2}, "More")])
    async for word in words(message.content):
        assert_type(word, str)
        await answer.stream_token(word)
    sent = await answer.send()
    assert_type(sent, cl.Message)
    error = await cl.ErrorMessage("no").send()
    assert_type(error, cl.ErrorMessage)


@cl.on_connect
async def came(connection: cl.Connection) -> None:
    assert_type(cl.context.session.profile, str | None)
    cl.user_session["here"] = f"{connection.client} {connection.id}"


@cl.on_disconnect
def left() -> None: ...


@cl.on_stop
def stopped() -> None:
    cl.run_sync(cl.toast("Stopped", "warning"))


@cl.action_callback("more")
async def more(action: cl.Action) -> None:
    page: int = action.payload.get("page", 1)
    await cl.Message(f"page {page} of {action.for_id}").send()
    await action.remove()
    reply = await cl.AskUserMessage("Sure?", timeout=5).send()
    assert_type(reply, dict[str, Any] | None)
    files = await cl.AskFileMessage("Which?", ["text/*"], max_files=2).send()
    assert_type(files, list[cl.FileRef] | None)
    said = cl.chat_context.to_openai()
    assert_type(said, list[dict[str, str]])


@cl.on_settings_update
async def changed(values: dict[str, Any]) -> None:
    await cl.Message(str(values)).send()


@cl.on_feedback
async def judged(feedback: cl.Feedback) -> None:
    await cl.Message(f"{feedback.for_id}: {feedback.value} {feedback.comment or ''}").send()


@cl.set_chat_profiles
async def profiles(user: cl.User) -> list[cl.ChatProfile]:
    return [cl.ChatProfile("fast", f"for {user.identifier}", starters=[cl.Starter("Hi", "Say hi")])]


@cl.set_starters
def starters() -> list[cl.Starter]:
    return [cl.Starter("Hi", "Say hi", icon="/hi.png")]


@cl.author_rename
def rename(name: str) -> str:
    return {"bot": "Ann"}.get(name, name)


# ---- steps: a decorated function keeps its type


@cl.step
async def words(text: str) -> AsyncIterator[str]:
    for word in text.split():
        yield word


@cl.step(type="tool", durable=True)
async def search(query: str, limit: int = 3) -> list[str]:
    return [query] * limit


@cl.step(durable=True, key=str)
def size(path: Path) -> int:
    return path.stat().st_size


@cl.step(name="Lines")
def lines(path: Path) -> Iterator[str]:
    yield from path.read_text().splitlines()


async def steps() -> None:
    assert_type(await search("a", limit=2), list[str])
    assert_type(size(Path()), int)
    assert_type(await cl.make_async(size)(Path()), int)
    for line in lines(Path()):
        assert_type(line, str)
    async with cl.Step("outer", "run", input={"a": 1}) as outer:
        with cl.Step(name="inner", type="llm", durable=True, key="k") as inner:
            if not inner.is_kept:
                inner.output = [1, 2]
        await outer.stream_token("x")
    assert_type(cl.context.current_step, cl.Step | None)
    by_hand = await cl.Step("by hand").send()
    by_hand.output = {"b": 2}
    await by_hand.update()


# ---- what is shown beside words


class Figure:
    def to_json(self) -> str:
        return "{}"

    def savefig(self, fname: Any, *, format: str) -> None:  # noqa: A002  # the name matplotlib has
        fname.write(format.encode())


async def shown() -> None:
    elements = [
        cl.Text("x", "text", language="python"),
        cl.Image("cat", path=Path("cat.png"), display="side"),
        cl.File("f", content=b"x", mime="text/plain"),
        cl.Pdf("p", url="/p.pdf", page=2),
        cl.Audio("a", url="/a.mp3", auto_play=True),
        cl.Video("v", url="/v.mp4"),
        cl.Plotly(figure=Figure()),
        cl.Pyplot(figure=Figure()),
        cl.Dataframe([{"a": 1}], "table"),
        cl.CustomElement("Chart", {"points": [1]}),
    ]
    look = await cl.Message("look", elements=elements).send()
    await elements[0].remove()
    await look.remove_actions()
    tasks = cl.TaskList([cl.Task("read", cl.TaskStatus.RUNNING)])
    await tasks.add_task(cl.Task("write"))
    tasks.tasks[0].status = cl.TaskStatus.DONE
    await tasks.update()


# ---- state, caches, blocking code


class Basket(BaseModel):
    items: list[str] = []


@cl.cache
async def explained(word: str) -> str:
    await cl.sleep(0.01)
    return word


@cl.cache
def doubled(n: int) -> int:
    return n * 2


async def rest() -> None:
    basket: Basket = cl.user_session.get("basket", Basket())
    cl.user_session.set("basket", basket)
    await cl.user_session.commit()
    assert_type(await explained("a"), str)
    assert_type(doubled(1), int)
    both = await asyncio.gather(explained("a"), explained("b"))
    assert_type(both, tuple[str, str])
    assert_type(cl.run_sync(explained("c")), str)
