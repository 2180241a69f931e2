"""What an agent is told of its clients: that they come and go, and which profile was chosen; on real servers."""

from __future__ import annotations

from collections.abc import Callable

from app.client import connect
from app.protocol.codec import body_of, checksum
from app.protocol.presence import Connected
from app.store.base import NewInput
from tests.conftest import StartServer
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk
from tests.support.valkey import ValkeyProcess
from tests.support.wire import Frame, WireClient, ends, is_a, placed, transcript

PORTER = """
import app as cl

@cl.on_chat_start
async def start():
    await cl.Message("first of all").send()

@cl.on_connect
async def came(connection: cl.Connection):
    cl.user_session.setdefault("here", []).append(connection.id)
    await cl.Message(f"{connection.client} came, {len(cl.user_session['here'])} here").send()

@cl.on_disconnect
def left(connection: cl.Connection):
    cl.user_session["here"].remove(connection.id)
    cl.run_sync(cl.Message(f"{connection.client} left, {len(cl.user_session['here'])} here").send())

@cl.on_message
async def main(message: cl.Message):
    await cl.Message("answered").send()
"""

PROFILES = """
import app as cl

@cl.set_chat_profiles
async def profiles(user: cl.User):
    return [cl.ChatProfile("brief", default=True), cl.ChatProfile("long")]

@cl.on_message
async def main():
    same = cl.user_session.get("chat_profile") == cl.context.session.profile
    await cl.Message(f"{cl.user_session['chat_profile']} {same}").send()
"""


def seen(frames: list[Frame]) -> list[str]:
    return [text for _, text in transcript(frames)]


def says(text: str) -> Callable[[Frame], bool]:
    """A condition for `collect`: a frame with a message that is this text."""
    return lambda frame: text in [place.event.get("delta") for place in placed([frame])]


async def test_clients_come_and_go_on_two_servers_and_the_agent_is_told_in_order(
    valkey: ValkeyProcess, server: StartServer
) -> None:
    one = server({"porter": PORTER}, env={"REDIS_URL": valkey.url})
    two = server({"porter": PORTER}, env={"REDIS_URL": valkey.url})
    first = await WireClient.connect(one.ws_url)
    await first.send("hello", client="client-one")
    await first.send("message", n=1, content="hello")
    session = (await first.collect(is_a("welcome")))[-1]["session"]
    await first.collect(says("answered"))
    assert seen(first.frames) == ["first of all", "client-one came, 1 here", "hello", "answered"]

    second = await WireClient.connect(two.ws_url)
    await second.hello(client="client-two", session=session)
    await first.collect(says("client-two came, 2 here"))
    since = second.since
    await second.drop()
    await first.collect(says("client-two left, 1 here"))
    again = await WireClient.connect(one.ws_url)
    await again.hello(client="client-two", session=session, since=since)
    await first.collect(says("client-two came, 2 here"))
    await again.close()
    await first.collect(says("client-two left, 1 here"))

    # a server that is asked to end lets its clients go, and another one is told of it
    two_sees = await WireClient.connect(two.ws_url)
    await two_sees.hello(client="client-two", session=session)
    await two_sees.collect(says("client-two came, 2 here"))
    one.terminate()
    await two_sees.collect(says("client-one left, 1 here"))
    await two_sees.close()


async def test_the_profile_that_was_chosen_reaches_the_agent_and_stays(
    valkey: ValkeyProcess, server: StartServer
) -> None:
    one = server({"agent": PROFILES}, env={"REDIS_URL": valkey.url})
    two = server({"agent": PROFILES}, env={"REDIS_URL": valkey.url})
    client = await WireClient.connect(one.ws_url)
    session = (await client.hello(profile="long"))["session"]
    await client.close()
    for url in (one.ws_url, two.ws_url, one.ws_url):
        again = await WireClient.connect(url)
        await again.hello(session=session, client="client-one")
        await again.count("message", content="which?")
        turn = (await again.collect(is_a("ack")))[-1]["turn"]
        await again.collect(ends(turn))
        assert seen(again.frames)[-1] == "long True"
        await again.close()
    async with connect(two.url, profile="long") as program:
        assert await program.ask("which?") == "long True"
    plain = await WireClient.connect(one.ws_url)
    await plain.hello()
    await plain.count("message", content="which?")
    await plain.collect(ends())
    assert seen(plain.frames)[-1] == "brief True"
    await plain.close()
    other = await WireClient.connect(one.ws_url)
    await other.send("hello", client="client-one", profile="short")
    assert (await other.closed())[0] == 4404
    assert other.frames[-1]["code"] == "no_such_profile"
    assert other.frames[-1]["message"] == "the agent agent offers no profile short, only brief, long"


async def test_an_agent_without_profiles_has_none(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main():
        await cl.Message(f"{cl.context.session.profile} {cl.user_session.get('chat_profile')}").send()
    """
    assert await (await Talk.start(await worker(source))).ask("x") == "None None"


async def test_a_connection_told_of_to_an_agent_without_the_hook_changes_nothing(worker: Start) -> None:
    # the worker where it came runs another version of the agent, which has one
    talk = await Talk.start(await worker("@cl.on_message\nasync def main():\n    await cl.Message('here').send()\n"))
    body = body_of(Connected(id="c", client="client-one"))
    await talk.worker.store.push(talk.session, "ann", NewInput(0, "connect", body, checksum(body), "turn-one"))
    assert (await talk.done("turn-one"))["type"] == "RUN_FINISHED"
    assert await talk.ask("x") == "here"
