"""An ask is answered through another server, after a reconnect, twice and too late: one result."""

from __future__ import annotations

from tests.conftest import StartServer
from tests.support.valkey import ValkeyProcess
from tests.support.wire import Frame, WireClient, ends, is_a, placed, transcript

ASKS = """
import app as cl

@cl.on_message
async def main(message):
    reply = await cl.AskUserMessage("Colour?").send()
    await cl.Message(f"You said {reply['output']}.").send()
"""


def asks(frame: Frame) -> list[str]:
    return [p.event["value"]["id"] for p in placed([frame]) if p.event.get("name") == "parley.ask"]


async def test_an_ask_answered_elsewhere_twice_and_late(valkey: ValkeyProcess, server: StartServer) -> None:
    one = server({"agent": ASKS}, env={"REDIS_URL": valkey.url})
    two = server({"agent": ASKS}, env={"REDIS_URL": valkey.url})
    client = await WireClient.connect(one.ws_url)
    session = (await client.hello(client="client-one"))["session"]
    await client.count("message", content="go")
    turn = (await client.collect(is_a("ack")))[-1]["turn"]
    (ask,) = asks((await client.collect(lambda frame: bool(asks(frame))))[-1])
    await client.drop()

    again = await WireClient.connect(two.ws_url)
    await again.hello(client="client-one", session=session, since=client.since)
    other = await WireClient.connect(one.ws_url)
    await other.hello(client="client-two", session=session)
    await again.count("answer", ask=ask, value="blue")
    await again.collect(is_a("ack", n=2))
    await other.count("answer", ask=ask, value="red")
    await again.collect(ends(turn))
    await other.collect(ends(turn))
    await again.count("answer", ask=ask, value="late")
    await again.collect(is_a("ack", n=3))

    late = await WireClient.connect(two.ws_url)
    await late.hello(session=session)
    await late.collect(ends(turn))
    assert late.raw_events == other.raw_events == client.raw_events + again.raw_events
    resolved = [p.event["value"] for p in placed(late.frames) if p.event.get("name") == "parley.ask_resolved"]
    assert resolved == [{"id": ask, "status": "answered", "value": "blue"}]
    assert transcript(late.frames) == [
        ("user", "go"),
        ("assistant", "Colour?"),
        ("user", "blue"),
        ("assistant", "You said blue."),
    ]
    for each in (again, other, late):
        await each.close()
