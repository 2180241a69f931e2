"""Every kind of thing an agent shows: the same on two servers, and there after a reconnect, a reload, a reset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from app.protocol.events import FIELDS
from app.protocol.fold import Fold
from tests.chat.seen import agui
from tests.conftest import StartServer
from tests.support.valkey import ValkeyProcess
from tests.support.wire import Frame, WireClient, assert_gapless, ends, is_a, placed

EVERYTHING = """
import app as cl
from pydantic import BaseModel

class Board(BaseModel):
    title: str = ""
    count: int = 0

board = cl.state(Board, clients_may_change=True)

@cl.on_chat_start
async def start():
    await cl.ChatSettings([cl.Slider("heat", "Heat"), cl.TextInput("style", "Style")]).send()

@cl.on_message
async def main(message: cl.Message):
    if message.content != "show":
        await cl.Message(f"heard {message.content}").send()
        return
    async with cl.Step("plan", "run", input="show") as plan:
        async with cl.Step("search", "tool", input={"q": 1}) as search:
            search.output = ["hit"]
        plan.output = "planned"
    tasks = cl.TaskList([cl.Task("read", cl.TaskStatus.RUNNING)])
    await tasks.send()
    await cl.Text("alone", "alone").send()
    async with board.change() as value:
        value.title = "Draft"
    async with board.change() as value:
        value.count += 1
    answer = cl.Message(actions=[cl.Action("go", {"n": 1}), cl.Action("stop")], elements=[cl.Text("under", "under")])
    for token in ("stream", "ed"):
        await answer.stream_token(token)
    await answer.send()
    changed = cl.Message("first words")
    await changed.send()
    changed.content = "other words"
    await changed.update()
    gone = cl.Message("forget this")
    await gone.send()
    await gone.remove()
    await cl.toast("working", "info")
    reply = await cl.AskUserMessage("Which?").send()
    tasks.tasks[0].status = cl.TaskStatus.DONE
    await tasks.update()
    await cl.ErrorMessage(f"no {reply['output']}").send()

@cl.action_callback("go")
async def go(action: cl.Action):
    await action.remove()

@cl.on_settings_update
async def updated(values: dict):
    await cl.Message(f"heat {values['heat']}").send()
"""


def customs(frames: Sequence[Frame]) -> set[str]:
    return {place.event["name"] for place in placed(frames) if place.event["type"] == "CUSTOM"}


def has(name: str) -> Callable[[Frame], bool]:
    return lambda frame: name in customs([frame])


def folded(frames: Sequence[Frame]) -> Frame:
    """What the events among these add up to."""
    fold = Fold()
    for frame in frames:
        if frame["type"] == "events":
            fold.apply(frame)
    return fold.snapshot()


def kinds(snapshot: Frame) -> set[str]:
    """What a snapshot holds, by kind."""
    found = {"settings"} if "settings" in snapshot else set()
    found |= {"state"} if snapshot["state"] is not None else set()
    for message in snapshot["messages"]:
        ours = (message.get("metadata") or {}).get("parley", {})
        found |= {kind for kind in ("actions", "elements", "error") if ours.get(kind)}
        found.add(message.get("activityType", "tool call" if "toolCalls" in message else message["role"]))
    return found | {f"open {thing['kind']}" for thing in snapshot["open"]}


LASTING = {
    *("settings", "state", "actions", "elements", "step", "tool call", "tool", "task_list", "element"),
    *("user", "assistant"),
}


SHOWN = {
    *("parley.settings", "parley.element", "parley.actions", "parley.message_updated", "parley.message_removed"),
    *("parley.toast", "parley.ask", "parley.ask_resolved"),
}


async def send(client: WireClient, kind: str, **members: Any) -> str:
    """Send an input and see its turn through; the turn."""
    await client.count(kind, **members)
    turn = (await client.collect(is_a("ack", n=client.n)))[-1]["turn"]
    if not any(ends(turn)(frame) for frame in client.frames):
        await client.collect(ends(turn))
    return str(turn)


async def reached(client: WireClient, seq: int) -> None:
    if client.since["seq"] < seq:
        await client.collect(lambda _: bool(client.since["seq"] >= seq))


class Scene:
    """A session with a client at each of two servers: `first`, which stays, and `second`, which comes again."""

    def __init__(self, urls: tuple[str, str], session: str, first: WireClient, second: WireClient) -> None:
        self.urls = urls
        self.session = session
        self.first = first
        self.second = second

    @classmethod
    async def set(cls, one: str, two: str) -> Scene:
        first = await WireClient.connect(one)
        session = (await first.hello(client="client-one"))["session"]
        second = await WireClient.connect(two)
        await second.hello(client="client-two", session=session)
        return cls((one, two), session, first, second)

    async def come_again(self) -> list[Frame]:
        """Drop the second client and have it come back to the same server; what it had before."""
        had, since = self.second.frames, self.second.since
        await self.second.drop()
        self.second = await WireClient.connect(self.urls[1])
        await self.second.hello(client="client-two", session=self.session, since=since)
        return had

    async def late(self, url: str, **hello: Any) -> list[Frame]:
        """What a client is told that comes now, up to where the first one is."""
        async with await WireClient.connect(url) as client:
            await client.hello(session=self.session, **hello)
            await reached(client, self.first.since["seq"])
            return client.frames

    async def say(self, kind: str, **members: Any) -> None:
        """Send an input by the second client, and see its turn through at both."""
        await send(self.second, kind, **members)
        await reached(self.first, self.second.since["seq"])


async def show_everything(scene: Scene) -> list[Frame]:
    """Have it all shown, with an ask answered after a reconnect; what the second client had before that."""
    await scene.first.count("message", content="show", id="m-show")
    await scene.first.collect(has("parley.ask"))
    await reached(scene.second, scene.first.since["seq"])
    now = folded(scene.first.frames)
    assert kinds(now) == LASTING | {"open turn", "open ask"}
    assert folded(await scene.late(scene.urls[1])) == now
    had = await scene.come_again()
    (ask,) = [thing["id"] for thing in now["open"] if thing["kind"] == "ask"]
    await scene.second.count("answer", ask=ask, value="this")
    await scene.second.collect(ends())
    (streamed,) = [m for m in now["messages"] if m.get("content") == "streamed"]
    await scene.say("action", name="go", payload={"n": 1}, **{"for": streamed["id"]})
    for heat in (7, 70):  # a slider ends at 10
        await scene.say("settings", values={"heat": heat})
    await scene.say("state", patch=[{"op": "replace", "path": "/count", "value": 5}])
    return had


def logged(frames: Sequence[Frame]) -> list[Frame]:
    """The frames that are the log's."""
    return [frame for frame in frames if frame["type"] == "events"]


async def test_all_that_is_shown_is_seen_alike_and_survives(valkey: ValkeyProcess, server: StartServer) -> None:
    env = {"REDIS_URL": valkey.url, "PARLEY_LOG_EVENTS": "100"}
    one, two = (server({"everything": EVERYTHING}, env=env) for _ in range(2))
    scene = await Scene.set(one.ws_url, two.ws_url)
    had = await show_everything(scene)
    first = scene.first

    # live on two servers, over a reconnect, and by who comes later
    assert logged(first.frames) == logged(had) + logged(scene.second.frames)
    for url in scene.urls:
        assert logged(await scene.late(url)) == logged(first.frames)
    assert assert_gapless(first.frames) == first.since["seq"]
    for place in placed(first.frames):
        agui.validate_python(place.event)
        assert place.event.keys() <= FIELDS[place.event["type"]]
    assert customs(first.frames) == SHOWN
    whole = folded(first.frames)
    assert kinds(whole) == LASTING | {"error"}
    assert whole["settings"]["values"] == {"heat": 7, "style": ""}
    assert whole["state"] == {"title": "Draft", "count": 5}

    # the log is trimmed: who comes from its start, or from the middle, is given what it adds up to
    while (late := await scene.late(one.ws_url))[1]["type"] != "reset":
        await scene.say("message", content="more")
    for frames in (late, await scene.late(two.ws_url, since={"seq": 1, "mark": had[-1]["mark"]})):
        reset = frames[1]
        assert (reset["reason"], reset["head"]["seq"]) == ("trimmed", first.since["seq"])
        assert kinds(reset["snapshot"]) >= LASTING
        assert reset["snapshot"] == folded(first.frames)

    # an edit takes back what came after, for all of them
    await scene.say("edit", id="m-show", content="something else")
    after = folded(first.frames)
    assert [m["content"] for m in after["messages"]] == ["something else", "heard something else"]
    assert after["settings"] == whole["settings"]
    assert (await scene.late(two.ws_url))[1]["snapshot"] == after
    for client in (first, scene.second):
        await client.close()
