"""What is shown beside words: elements, task lists, toasts; what users judge and are offered; what is cached."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.chat.caching import MAX_CACHED, cache
from app.chat.element import CustomElement, File, Image, Text
from app.chat.people import ChatProfile, Starter
from app.main import Agents
from app.runtime.registry import declared
from tests.chat.seen import checked, customs, folded
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk


async def test_elements_are_shown_with_their_message(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        chart = cl.CustomElement("Chart", {"points": [1]})
        answer = cl.Message("look", elements=[
            cl.Text("print(1)", "code", language="python"),
            cl.Image("cat", url="/cat.png", display="side"),
            cl.Pdf("paper", url="/paper.pdf", page=3),
            cl.Audio("song", url="/song.mp3", auto_play=True),
            cl.Video("film", url="/film.mp4", mime="video/mp4"),
            cl.Dataframe([{"a": 1}, {"b": 2}], "table"),
            chart,
        ])
        await answer.send()
        await answer.update()
        chart.props["points"].append(2)
        await chart.update()
        await cl.Text("alone").send()
    """
    talk = await Talk.start(await worker(source))
    turn = await talk.say("x")
    await talk.done(turn)
    checked(talk)
    message = next(m for m in folded(talk)["messages"] if m["content"] == "look")
    shown = {element["name"]: element for element in message["metadata"]["parley"]["elements"]}
    assert shown["code"]["content"] == "print(1)"
    assert shown["code"]["language"] == "python"
    assert (shown["cat"]["type"], shown["cat"]["display"], shown["cat"]["url"]) == ("image", "side", "/cat.png")
    assert (shown["paper"]["page"], shown["paper"]["mime"]) == (3, "application/pdf")
    assert shown["song"]["autoPlay"] is True
    assert shown["film"]["mime"] == "video/mp4"
    assert shown["table"]["content"]["columns"] == ["a", "b"]
    assert shown["table"]["content"]["data"] == [[1, None], [None, 2]]
    assert shown["Chart"]["props"] == {"points": [1, 2]}
    assert list(shown) == ["code", "cat", "paper", "song", "film", "table", "Chart"]
    assert "messageId" not in customs(talk, "element")[-1]
    assert len(customs(talk, "element")) == 9, "an update shows no element again"


async def test_an_element_is_taken_away_wherever_it_stands(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        if message.content == "later":
            await cl.CustomElement("Chart", id="chart").remove()
            return
        one, two = cl.Text("1", "one"), cl.Text("2", "two")
        answer = cl.Message("look", elements=[one, two, cl.CustomElement("Chart", id="chart")])
        await answer.send()
        await one.remove()
        await answer.update()
        alone, other = cl.Text("3", "alone"), cl.Text("4", "other")
        await alone.send()
        await other.send()
        await other.remove()
        await cl.Text("never shown").remove()
    """
    talk = await Talk.start(await worker(source))

    def shown() -> list[str]:
        messages = folded(talk)["messages"]
        under = [e["name"] for m in messages for e in m.get("metadata", {}).get("parley", {}).get("elements", [])]
        return under + [m["content"]["name"] for m in messages if m.get("activityType") == "element"]

    await talk.ask("x")
    assert shown() == ["two", "Chart", "alone"]
    assert len(customs(talk, "element_removed")) == 2
    await talk.ask("later")
    assert shown() == ["two", "alone"]


async def test_what_is_shown_under_a_message_outlives_its_updates(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        answer = cl.ErrorMessage("one", actions=[cl.Action("go")], elements=[cl.Text("1", "text")])
        await answer.send()
        answer.content = "two"
        await answer.update()
        if message.content == "remove":
            await answer.remove_actions()
    """
    talk = await Talk.start(await worker(source))
    await talk.ask("x")
    ours = folded(talk)["messages"][-1]["metadata"]["parley"]
    assert (ours["error"], len(ours["actions"]), len(ours["elements"])) == (True, 1, 1)
    await talk.ask("remove")
    ours = folded(talk)["messages"][-1]["metadata"]["parley"]
    assert (ours["error"], len(ours["actions"]), len(ours["elements"])) == (True, 0, 1)


async def test_an_element_alone_of_a_dead_attempt_is_superseded(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        await cl.Text("x", f"of {cl.context.turn.attempt}").send()
        await cl.Message("at the brink").send()
        if cl.context.turn.attempt == 1:
            await asyncio.sleep(3600)
    """
    first = await worker(source)
    talk = await Talk.start(first)
    turn = await talk.say("x")
    await talk.until(lambda: "at the brink" in talk.text(turn))
    await first.die()
    await talk.move(await worker())
    await talk.done(turn)
    left = [m["content"]["name"] for m in folded(talk)["messages"] if m["role"] == "activity"]
    assert left == ["of 2"]


async def test_a_long_table_is_cut_and_says_so(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        await cl.Dataframe([{"a": i} for i in range(501)]).send()

        class Figure:
            def to_json(self):
                return '{"data": [], "layout": {}}'
        await cl.Plotly(figure=Figure()).send()
    """
    talk = await Talk.start(await worker(source))
    await talk.ask("x")
    table, figure = customs(talk, "element")
    assert (len(table["content"]["data"]), table["content"]["rows"], table["content"]["truncated"]) == (500, 501, True)
    assert figure["content"] == {"data": [], "layout": {}}


async def test_bytes_paths_and_large_content_become_files(keeping: Start, tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("some notes")
    source = f"""
    class Figure:
        def savefig(self, fname, *, format):
            fname.write(b"\\x89PNG\\r\\n\\x1a\\n" + b"0" * 20)

    @cl.on_message
    async def main(message):
        await cl.Message("look", elements=[
            cl.File("notes.txt", path={str(path)!r}),
            cl.File("bytes.txt", content=b"plain words"),
            cl.Text("long " * 20_000, "long"),
            cl.Pyplot("plot", figure=Figure()),
            cl.Dataframe([{{"a": "x" * 1000}}] * 100, "large"),
        ]).send()
    """
    talk = await Talk.start(await keeping(source))
    await talk.ask("x")
    shown = {value["name"]: value for value in customs(talk, "element")}
    assert all(value["url"].startswith("/") for value in shown.values())
    assert shown["notes.txt"]["size"] == len("some notes")
    assert shown["long"]["size"] == 100_000
    assert shown["plot"]["mime"] == "image/png"
    assert not any("content" in value for value in shown.values())


def test_an_element_that_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="exactly one of path, url and content"):
        Image("cat")
    with pytest.raises(ValueError, match="exactly one of path, url and content"):
        File("f", path="/a", url="/b")
    with pytest.raises(ValueError, match="at most 256"):
        Text("x", "n" * 257)
    with pytest.raises(ValueError, match="not one of inline"):
        Text("x", display="above")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="url has"):
        File("f", url="x" * 9000)


async def test_props_are_bounded_json() -> None:
    with pytest.raises(ValueError, match="at most 65536"):
        await CustomElement("c", {"x": "y" * 70_000}).members()
    with pytest.raises(ValueError, match="not JSON"):
        await CustomElement("c", {"x": object()}).members()


async def test_a_task_list_is_shown_as_it_goes_on(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        tasks = cl.TaskList([cl.Task("read")], status="working")
        await tasks.send()
        await tasks.add_task(cl.Task("write", cl.TaskStatus.RUNNING, for_id="m"))
        tasks.tasks[0].status = cl.TaskStatus.DONE
        await tasks.update()
        gone = cl.TaskList([cl.Task("x")])
        await gone.send()
        await gone.remove()
        try:
            await cl.TaskList([cl.Task("x")] * 201).send()
        except ValueError as error:
            await cl.Message(str(error)).send()
    """
    talk = await Talk.start(await worker(source))
    assert await talk.ask("x") == "a task list has 201 tasks, at most 200"
    checked(talk)
    (shown,) = [m["content"] for m in folded(talk)["messages"] if m.get("activityType") == "task_list"]
    tasks = [{"title": "read", "status": "done"}, {"title": "write", "status": "running", "forId": "m"}]
    assert shown == {"status": "working", "tasks": tasks}


async def test_a_toast_is_shown_if_it_is_one(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        await cl.toast("saved", "success")
        for args in (["x" * 1001], ["x", "loud"]):
            try:
                await cl.toast(*args)
            except ValueError as error:
                await cl.Message(str(error) + "; ").send()
    """
    talk = await Talk.start(await worker(source))
    said = await talk.ask("x")
    assert "at most 1000" in said
    assert "'loud'" in said
    assert customs(talk, "toast") == [{"message": "saved", "type": "success"}]


async def test_feedback_reaches_its_handler(worker: Start) -> None:
    source = """
    @cl.on_feedback
    async def judged(feedback: cl.Feedback):
        await cl.Message(f"{feedback.for_id} {feedback.value} {feedback.comment}").send()
    """
    talk = await Talk.start(await worker(source))
    accepted = await talk.send({"type": "feedback", "for": "m1", "value": 1, "comment": "nice"})
    assert accepted.turn is not None
    await talk.done(accepted.turn)
    assert talk.text(accepted.turn) == "m1 1 nice"


async def test_what_a_user_is_offered(worker: Start) -> None:
    source = """
    @cl.set_chat_profiles
    async def profiles(user: cl.User):
        return [cl.ChatProfile(name="fast", markdown_description=f"for {user.identifier}", default=True)]

    @cl.set_starters
    def starters():
        return [cl.Starter("Hi", "Say hi", icon="/hi.png"), "no starter"]

    @cl.on_message
    async def main(message): ...
    """
    await worker(source)
    directory = Agents(declared, None)
    offered = [{"name": "fast", "description": "for ann", "default": True, "starters": []}]
    assert await directory.profiles("agent", "ann") == offered
    with pytest.raises(TypeError, match="at most 50 of Starter"):
        await directory.starters("agent", "ann")
    declared.agents["agent"].functions.clear()
    assert await directory.starters("agent", "ann") == []


def test_what_is_offered_is_bounded() -> None:
    with pytest.raises(ValueError, match="label has 257"):
        Starter("x" * 257, "m")
    with pytest.raises(ValueError, match="icon has"):
        ChatProfile("p", icon="x" * 2049)


async def test_a_cache_calls_once_for_equal_arguments() -> None:
    calls: list[int] = []
    gate = asyncio.Event()

    @cache
    async def slow(n: int) -> int:
        calls.append(n)
        await gate.wait()
        if len(calls) == 1:
            raise ValueError
        return n * 2

    waiting = [asyncio.create_task(slow(2)) for _ in range(3)]
    await asyncio.sleep(0)
    gate.set()
    first, *rest = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(first, ValueError)
    assert rest == [4, 4]
    assert calls == [2, 2], "one that failed is not kept, and the next one is called alone"
    assert await slow(2) == 4
    for n in range(10, 10 + MAX_CACHED):
        await slow(n)
    await slow(2)
    assert calls.count(2) == 3, "the longest unused result has gone"


def test_a_cache_of_a_sync_function() -> None:
    calls: list[int] = []

    @cache
    def double(n: int) -> int:
        calls.append(n)
        return n * 2

    assert [double(1), double(1), double(2)] == [2, 2, 4]
    assert calls == [1, 2]
    with pytest.raises(TypeError, match="generator"):
        cache(lambda: (yield))
