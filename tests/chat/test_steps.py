"""Steps: nested, sync and async, streamed, failed, cancelled; each of their events is AG-UI."""

from __future__ import annotations

import json

import pytest

from tests.chat.seen import checked, steps, tools
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk


async def played(worker: Start, source: str, said: str = "x", **settings: object) -> Talk:
    """A talk in which one turn has ended, its events checked."""
    talk = await Talk.start(await worker(source, **settings))
    await talk.done(await talk.say(said))
    checked(talk)
    return talk


async def test_steps_nest_as_they_are_called(worker: Start) -> None:
    talk = await played(
        worker,
        """
        @cl.step
        async def inner(word: str):
            async with cl.Step("innermost", "llm") as s:
                s.input = {"word": word}
                s.output = word.upper()
            return s.output

        @cl.step(name="Outer", type="run")
        async def outer():
            return await asyncio.gather(inner("a"), asyncio.create_task(inner("b")))

        @cl.on_message
        async def main(message):
            await outer()
            async with cl.Step("after"):
                pass
        """,
    )
    shown = steps(talk)
    assert shown["Outer"]["output"] == ["A", "B"]
    assert shown["inner"]["parent"] == shown["Outer"]["id"]
    assert shown["innermost"]["parent"] == shown["inner"]["id"]
    assert shown["after"]["parent"] is None
    assert {s["status"] for s in shown.values()} == {"done"}
    assert shown["innermost"]["type"] == "llm"


async def test_a_sync_with_works_on_the_loop_and_in_make_async_and_nests(worker: Start) -> None:
    talk = await played(
        worker,
        """
        @cl.step
        def lookup(word):
            with cl.Step("disk") as s:
                s.input = word
                cl.run_sync(s.stream_token("found "))
                cl.run_sync(s.stream_token(word))
            return len(word)

        @cl.on_message
        async def main(message):
            with cl.Step("here"):
                assert await cl.make_async(lookup)("abc") == 3
                assert lookup("on the loop") == 11
            assert cl.context.current_step is None
        """,
    )
    snapshots = [e for e in talk.events() if e["type"] == "ACTIVITY_SNAPSHOT"]
    assert [s["content"]["name"] for s in snapshots] == ["here", "lookup", "disk", "lookup", "disk"]
    here, lookup, disk, again, below = [s["messageId"] for s in snapshots]
    assert [s["content"]["parent"] for s in snapshots] == [None, here, lookup, here, again]
    assert disk != below
    assert steps(talk)["disk"]["output"] == "found on the loop"


async def test_a_sync_handler_has_steps_too(worker: Start) -> None:
    source = """
    @cl.on_message
    def main(message):
        with cl.Step("in a thread") as s:
            s.output = [1]
    """
    assert steps(await played(worker, source))["in a thread"]["output"] == [1]


async def test_a_tool_is_a_tool_call(worker: Start) -> None:
    talk = await played(
        worker,
        """
        @cl.step(type="tool")
        async def search(query: str, limit: int = 3):
            return [{"title": query}]

        @cl.on_message
        async def main(message):
            await search("cats", limit=2)
            async with cl.Step("streamed", "tool") as s:
                await s.stream_token('{"a"', is_input=True)
                await s.stream_token(': 1}', is_input=True)
                await s.stream_token("all ")
                await s.stream_token("right")
            async with cl.Step("plain", type="tool") as s:
                s.input = "words"
        """,
    )
    shown = tools(talk)
    assert json.loads(shown["search"][0]) == {"query": "cats", "limit": 2}
    assert json.loads(shown["search"][1] or "") == [{"title": "cats"}]
    assert shown["streamed"] == ('{"a": 1}', "all right")
    assert shown["plain"] == ('{"input":"words"}', "null")
    kinds = [e["type"].removeprefix("TOOL_CALL_") for e in talk.events() if e["type"].startswith("TOOL_CALL")]
    assert kinds[:4] == ["START", "ARGS", "END", "RESULT"]


async def test_a_failed_step_says_so_and_its_text_only_where_it_may(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        for kind in ("undefined", "tool"):
            try:
                async with cl.Step(kind, kind):
                    raise ValueError("secret")
            except ValueError:
                pass
    """
    talk = await played(worker, source)
    assert steps(talk)["undefined"]["status"] == "failed"
    assert steps(talk)["undefined"]["output"] == "ValueError"
    assert tools(talk)["tool"][1] == '{"error":"ValueError"}'
    assert "secret" not in str(talk.frames)
    talk = await played(worker, source, show_errors=True)
    assert steps(talk)["undefined"]["output"] == "ValueError: secret"


async def test_a_cancel_closes_steps_before_the_turns_end(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        async with cl.Step("outer"), cl.Step("call", "tool"):
            if message.content == "left open":
                await cl.Step("sent").send()
                return
            await asyncio.sleep(3600)
    """
    talk = await Talk.start(await worker(source))
    turn = await talk.say("x")
    await talk.until(lambda: "call" in tools(talk))
    await talk.cancel(turn)
    await talk.done(turn)
    checked(talk)
    assert steps(talk)["outer"]["status"] == "cancelled"
    assert tools(talk)["call"] == ("", None)
    await talk.done(await talk.say("left open"))
    assert steps(talk)["sent"]["status"] == "cancelled"


async def test_a_thread_that_is_left_behind_leaves_no_step_open(worker: Start) -> None:
    source = """
    import threading
    gate = threading.Event()

    def blocks():
        with cl.Step("blocked"):
            gate.wait(20)

    @cl.on_message
    async def main(message):
        await cl.make_async(blocks)()

    @cl.on_stop
    async def stop():
        gate.set()
    """
    talk = await Talk.start(await worker(source))
    turn = await talk.say("x")
    await talk.until(lambda: "blocked" in steps(talk))
    await talk.cancel(turn)
    await talk.done(turn)
    assert steps(talk)["blocked"]["status"] == "cancelled"


@pytest.mark.parametrize("how", ["async ", ""])
async def test_a_generator_streams_and_its_consumer_is_not_inside(worker: Start, how: str) -> None:
    source = f"""
    @cl.step
    {how}def words():
        with cl.Step("within"):
            yield "a "
        yield "b "
        yield 3

    @cl.on_message
    async def main(message):
        got = []
        {how}for word in words():
            got.append(word)
            assert cl.context.current_step is None
        assert got == ["a ", "b ", 3]
        {how}for word in words():
            with cl.Step("consumer"):
                break
    """
    talk = await played(worker, source)
    snapshots = [e["content"] for e in talk.events() if e["type"] == "ACTIVITY_SNAPSHOT"]
    assert [s["parent"] is None for s in snapshots if s["name"] == "consumer"] == [True]
    assert [s["parent"] is None for s in snapshots if s["name"] == "within"] == [False, False]
    ids = [
        e["messageId"] for e in talk.events() if e["type"] == "ACTIVITY_SNAPSHOT" and e["content"]["name"] == "words"
    ]
    patches = [e["patch"] for e in talk.events() if e["type"] == "ACTIVITY_DELTA" and e["messageId"] == ids[0]]
    assert patches[-1] == [{"op": "add", "path": "/status", "value": "done"}]
    assert patches[-2] == [{"op": "add", "path": "/output", "value": "a b 3\n"}]


async def test_a_long_stream_costs_a_bounded_number_of_times_its_size(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        async with cl.Step("long") as s:
            for i in range(4000):
                await s.stream_token("12345")
    """
    talk = await played(worker, source)
    assert steps(talk)["long"]["output"] == "12345" * 4000
    assert sum(len(str(e)) for e in talk.events()) < 20 * 20_000


async def test_what_is_no_json_or_too_large_is_shown_all_the_same(worker: Start) -> None:
    source = """
    class Thing:
        def __str__(self): return "a thing"

    @cl.on_message
    async def main(message):
        async with cl.Step("odd") as s:
            s.input = {"thing": Thing(), 1: b"x"}
            s.output = "y" * 1_000_000
        async with cl.Step("hidden", show_input=False) as s:
            s.input = "secret"
    """
    talk = await played(worker, source)
    assert steps(talk)["odd"]["input"] == {"thing": "a thing", "1": "b'x'"}
    assert steps(talk)["odd"]["output"].endswith("… (cut: 1000000 characters)")
    assert "secret" not in str(talk.frames)


async def test_steps_without_a_block(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        s = cl.Step("by hand", type="run")
        s.input = "in"
        await s.send()
        s.output = "out"
        await s.update()
        gone = await cl.Step("gone", "tool").send()
        await gone.remove()
    """
    talk = await played(worker, source)
    assert steps(talk)["by hand"]["status"] == "done"
    assert steps(talk)["by hand"]["output"] == "out"
    assert tools(talk) == {}


async def test_names_are_those_of_author_rename(worker: Start) -> None:
    source = """
    @cl.author_rename
    async def rename(name: str):
        return {"search": "Searching", "bot": "Ann"}.get(name, name)

    @cl.step(type="tool")
    async def search(): ...

    @cl.on_message
    async def main(message):
        await search()
        answer = cl.Message("hi", author="bot")
        await answer.send()
        answer.content = "ho"
        await answer.update()
    """
    talk = await played(worker, source)
    assert set(tools(talk)) == {"Searching"}
    assert "'bot'" not in str(talk.frames)
    assert str(talk.frames).count("'Ann'") == 2


async def test_a_step_outside_a_turn_raises(worker: Start) -> None:
    source = """
    late = []

    @cl.on_message
    async def main(message):
        async def goes_on():
            try:
                async with cl.Step("late"):
                    ...
            except cl.OutsideTurn as error:
                late.append(error)
                await cl.Message("refused").send()
        if message.content == "go":
            loop = asyncio.get_running_loop()
            loop.call_later(0.01, lambda: main.tasks.append(asyncio.ensure_future(goes_on())))

    main.tasks = []
    """
    talk = await Talk.start(await worker(source))
    await talk.done(await talk.say("go"))
    await talk.until(lambda: "refused" in str(talk.frames))
    checked(talk)
