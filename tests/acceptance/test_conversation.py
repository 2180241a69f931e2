"""A conversation over the wire: counting, replay, a second tab, a reset, and what is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from tests.conftest import StartServer
from tests.support.server import ParleyServer
from tests.support.wire import (
    WireClient,
    assert_gapless,
    assert_turns_end_once,
    ends,
    is_a,
    transcript,
)

MISBEHAVED = {
    "raises": "import app as cl\n@cl.on_message\nasync def main(message):\n    raise RuntimeError('inside')\n",
    "never": "import app as cl\n@cl.on_message(timeout=0.2)\nasync def main(message):\n    await cl.sleep(3600)\n",
    "waits": "import app as cl\n@cl.on_message\nasync def main(message):\n    await cl.sleep(3600)\n",
}


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    """A server that tests share. Leave it running."""
    with ParleyServer(tmp_path_factory.mktemp("echo")) as server:
        yield server


async def connect(server: ParleyServer) -> WireClient:
    return await WireClient.connect(server.ws_url)


async def test_a_client_that_knows_only_the_protocol(echo: ParleyServer) -> None:
    client = await connect(echo)
    welcome = await client.hello(client="client-one", agent="echo")
    assert not welcome["resumed"]
    for n in (1, 2, 3):
        assert await client.count("message", content=f"m{n}") == n
    turns: list[str] = []
    while len(turns) < 3 or transcript(client.frames)[-1:] != [("assistant", "Received: m3")]:
        frame = await client.receive()
        if frame["type"] == "ack":
            turns.append(frame["turn"])
    assert [f["n"] for f in client.frames if f["type"] == "ack"] == [1, 2, 3]
    assert_gapless(client.frames)
    assert_turns_end_once(client.frames)
    said = [(role, text) for n in (1, 2, 3) for role, text in (("user", f"m{n}"), ("assistant", f"Received: m{n}"))]
    assert transcript(client.frames) == said

    since = client.since
    await client.drop()
    other = await connect(echo)
    hello = await other.hello(client="client-two", session=welcome["session"])
    assert hello["resumed"]
    assert not hello["known"]
    await other.count("message", content="from another tab")
    ack = (await other.collect(is_a("ack")))[-1]
    await other.collect(ends(ack["turn"]))

    again = await connect(echo)
    resumed = await again.hello(client="client-one", session=welcome["session"], since=since)
    assert (resumed["acked"], resumed["known"]) == (3, True)
    await again.collect(ends())
    assert assert_gapless(again.frames, since["seq"]) == other.since["seq"]
    assert transcript(again.frames) == [("user", "from another tab"), ("assistant", "Received: from another tab")]

    assert other.raw_events == client.raw_events + again.raw_events

    ahead = await connect(echo)
    await ahead.hello(session=welcome["session"], since={"seq": since["seq"] + 1_000_000, "mark": since["mark"]})
    reset = (await ahead.collect(is_a("reset")))[-1]
    assert reset["reason"] == "ahead"
    assert reset["head"] == other.since
    assert [(m["role"], m["content"]) for m in reset["snapshot"]["messages"]] == transcript(other.frames)
    for one in (other, again, ahead):
        await one.close()


async def test_repeated_conflicting_skipped_and_refused_numbers(server: StartServer) -> None:
    waits = server({"waits": MISBEHAVED["waits"]}, env={"PARLEY_INBOX_SIZE": "2", "PARLEY_DRAIN_TIMEOUT": "0"})
    client = await connect(waits)
    await client.hello()
    await client.send("message", n=1, content="a")
    first = (await client.collect(is_a("ack")))[-1]
    await client.send("message", n=1, content="a")
    again = (await client.collect(is_a("ack")))[-1]
    assert again == {**first, "duplicate": True}
    await client.send("message", n=1, content="b")
    assert (await client.collect(is_a("error", code="conflict")))[-1]["n"] == 1
    await client.send("message", n=2, content=["not a part"])
    assert (await client.collect(is_a("error")))[-1]["n"] == 2
    await client.send("message", n=3, content="c")
    assert (await client.collect(is_a("error")))[-1]["code"] == "out_of_order"
    await client.send("message", n=2, content="b")
    assert (await client.collect(is_a("ack")))[-1]["n"] == 2
    await client.send("message", n=3, content="c")
    busy = (await client.collect(is_a("error", code="busy")))[-1]
    assert busy["n"] == 3
    assert busy["retry_after_ms"] > 0
    assert "PARLEY_INBOX_SIZE" in busy["message"]
    await client.send("cancel", n=3)
    await client.collect(ends(first["turn"]))
    await client.send("message", n=9, content="skipped")
    assert (await client.closed())[0] == 4409


@pytest.mark.parametrize(("agent", "code"), [("raises", "handler_error"), ("never", "timeout")])
async def test_a_handler_that_fails_ends_its_turn_and_no_more(server: StartServer, agent: str, code: str) -> None:
    bad = server(MISBEHAVED)
    async with await connect(bad) as client:
        await client.hello(agent=agent)
        for _ in range(2):
            await client.count("message", content="x")
            last = (await client.collect(ends()))[-1]["events"][-1]
            assert last["code"] == code
            assert "inside" not in last["message"]
        assert_turns_end_once(client.frames)


async def test_what_is_no_frame_is_answered_and_changes_nothing(echo: ParleyServer) -> None:
    async with await connect(echo) as client:
        await client.hello(agent="echo")
        for text, code in (
            ("{", "bad_json"),
            ("[]", "bad_frame"),
            ('{"type": "dance"}', "unknown_type"),
            ('{"type": "message", "n": "1", "content": "x"}', "bad_frame"),
            ('{"type": "message", "n": 1, "content": 7}', "bad_frame"),
        ):
            await client.send_text(text)
            error = (await client.collect(is_a("error")))[-1]
            assert (error["code"], error["fatal"]) == (code, False)
        await client.count("message", content="still here")
        await client.collect(ends())


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"client": "client-one", "agent": "nobody"}, 4404),
        ({"client": "client-one", "session": "A" * 22}, 4404),
        ({"client": "short"}, 4400),
    ],
)
async def test_a_hello_that_leads_nowhere_is_closed_with_its_code(
    echo: ParleyServer, hello: dict[str, str], code: int
) -> None:
    client = await connect(echo)
    await client.send("hello", **hello)
    assert (await client.closed())[0] == code


async def test_a_first_frame_that_is_no_hello_is_closed(echo: ParleyServer) -> None:
    client = await connect(echo)
    await client.send("message", n=1, content="x")
    assert (await client.closed())[0] == 4400


async def test_a_frame_that_is_too_large_is_closed(server: StartServer) -> None:
    small = server(env={"PARLEY_MAX_FRAME_BYTES": "2048"})
    client = await connect(small)
    await client.hello()
    await client.send_text(json.dumps({"type": "message", "n": 1, "content": "x" * 3000}))
    assert (await client.closed())[0] == 1009


async def test_a_stopping_server_says_bye_and_1012(server: StartServer) -> None:
    echo = server()
    client = await connect(echo)
    await client.hello()
    stopping = asyncio.create_task(asyncio.to_thread(echo.terminate))
    assert (await client.closed(20))[0] == 1012
    assert client.frames[-1]["type"] == "bye"
    assert client.frames[-1]["reconnect"]
    await stopping
