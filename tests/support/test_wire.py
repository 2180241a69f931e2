"""That the raw client sends what it is told, and that its assertions can fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.support.wire import (
    Frame,
    WireClient,
    assert_gapless,
    assert_turns_end_once,
    ends,
    is_a,
    transcript,
)

HEAD = {"seq": 2, "mark": "m"}
WELCOME = {
    "type": "welcome",
    "protocol": 1,
    "session": "s",
    "agent": "echo",
    "user": "u",
    "worker": "w",
    "resumed": False,
    "head": HEAD,
    "acked": 3,
    "known": True,
    "limits": {"frame_bytes": 262_144, "inbox": 64},
}


def events(seq: int, *parts: dict[str, Any], turn: str | None = "t") -> Frame:
    return {"type": "events", "seq": seq, "mark": "m", "turn": turn, "attempt": 1, "events": list(parts)}


def started(message: str, role: str = "assistant") -> dict[str, Any]:
    return {"type": "TEXT_MESSAGE_START", "messageId": message, "role": role}


def content(message: str, delta: str) -> dict[str, Any]:
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": delta}


def ended(message: str) -> dict[str, Any]:
    return {"type": "TEXT_MESSAGE_END", "messageId": message}


def custom(name: str, **value: object) -> dict[str, Any]:
    return {"type": "CUSTOM", "name": name, "value": value}


RUN, FINISHED, FAILED = ({"type": kind} for kind in ("RUN_STARTED", "RUN_FINISHED", "RUN_ERROR"))
TURN = [events(1, RUN, started("1", "user"), content("1", "hi"), ended("1")), events(5, FINISHED)]

Script = Callable[[ServerConnection], Any]


@pytest.fixture
async def play() -> AsyncIterator[Callable[[Script], Any]]:
    """Serve one script for all connections; gives a client that is connected to it."""
    closing: list[Any] = []

    async def start(script: Script) -> WireClient:
        server = await serve(script, "127.0.0.1", 0)
        client = await WireClient.connect(f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws")
        closing.extend((client, server))
        return client

    yield start
    client, server = closing
    await client.close()
    server.close()
    await server.wait_closed()


def says(*frames: Frame) -> Script:
    async def script(connection: ServerConnection) -> None:
        await connection.recv()
        for frame in frames:
            await connection.send(json.dumps(frame))
        await connection.close(4410, "over")

    return script


async def test_hello_then_counted_frames_then_the_turn(play: Callable[[Script], Any]) -> None:
    heard: list[Frame] = []

    async def script(connection: ServerConnection) -> None:
        heard.append(json.loads(await connection.recv()))
        await connection.send(json.dumps(WELCOME))
        heard.append(json.loads(await connection.recv()))
        for frame in TURN:
            await connection.send(json.dumps(frame))
        await connection.wait_closed()

    client = await play(script)
    await client.hello(agent="echo")
    assert await client.count("message", content="hi") == 4
    assert await client.collect(ends("t")) == TURN
    assert client.since == {"seq": 5, "mark": "m"}
    assert client.raw_events == [json.dumps(frame) for frame in TURN]
    assert [(frame["type"], frame.get("n")) for frame in heard] == [("hello", None), ("message", 4)]
    assert len(heard[0]["client"]) >= 8


async def test_the_close_code_after_the_last_frames(play: Callable[[Script], Any]) -> None:
    client = await play(says(WELCOME, *TURN))
    await client.hello()
    assert await client.closed() == (4410, "over")
    assert [frame["type"] for frame in client.frames] == ["welcome", "events", "events"]


async def test_a_close_and_a_silence_fail_what_waits(play: Callable[[Script], Any]) -> None:
    client = await play(says(WELCOME))
    with pytest.raises(AssertionError, match="not within"):
        await client.collect(is_a("ack"), within=0.01)
    await client.hello()
    with pytest.raises(AssertionError, match="closed with"):
        await client.collect(is_a("ack", n=1))


@pytest.mark.parametrize("text", ["[]", '{"type": "hm"}', '{"type": "ack", "n": 1}', b"{}"])
async def test_what_is_no_frame_of_the_protocol_fails(play: Callable[[Script], Any], text: str | bytes) -> None:
    async def script(connection: ServerConnection) -> None:
        await connection.send(text)
        await connection.wait_closed()

    client = await play(script)
    with pytest.raises(AssertionError):
        await client.receive()


@pytest.mark.parametrize("wrong", [{"time": "now"}, {"time": 1, "more": 1}], ids=("type", "member"))
async def test_what_the_document_does_not_know_fails(play: Callable[[Script], Any], wrong: Frame) -> None:
    client = await play(says({"type": "pong", **wrong}))
    await client.send("ping")
    with pytest.raises(AssertionError, match="the document"):
        await client.receive()


async def test_what_the_server_took_and_should_not_have_fails(play: Callable[[Script], Any]) -> None:
    ack = {"type": "ack", "n": 4, "duplicate": False, "queued": 0}
    refusal = {"type": "error", "code": "bad_frame", "message": "no", "n": 4, "fatal": False}

    async def script(connection: ServerConnection) -> None:
        for _ in range(3):
            await connection.recv()
        for frame in (refusal, ack, {**ack, "n": 5}):
            await connection.send(json.dumps(frame))
        await connection.wait_closed()

    client = await play(script)
    await client.send("message", n=4, content=7)
    await client.send("message", n=4, content="x")
    await client.send("message", n=5, content=7)
    await client.collect(is_a("ack", n=4))
    with pytest.raises(AssertionError, match="the document says otherwise of message"):
        await client.receive()


async def test_drop_says_no_goodbye(play: Callable[[Script], Any]) -> None:
    seen = asyncio.get_running_loop().create_future()

    async def script(connection: ServerConnection) -> None:
        await connection.wait_closed()
        seen.set_result(connection.close_code)

    client = await play(script)
    await client.drop()
    assert await seen == 1006
    assert await client.closed() == (1006, "")


@pytest.mark.parametrize(
    "frames",
    [
        [events(2, RUN)],
        [events(1, RUN), events(3, FINISHED)],
        [events(1, RUN), events(1, RUN)],
        [events(1)],
        [events(1, RUN), {"type": "reset", "head": HEAD}, events(2, RUN)],
    ],
)
def test_gaps_and_repeats_are_seen(frames: list[Frame]) -> None:
    with pytest.raises(AssertionError):
        assert_gapless(frames)


def test_no_gap() -> None:
    assert assert_gapless([WELCOME, *TURN]) == 5
    assert assert_gapless([{"type": "reset", "head": HEAD}, events(3, RUN)], after=9) == 3


@pytest.mark.parametrize(
    "frames",
    [
        [events(1, RUN)],
        [*TURN, events(6, FAILED)],
        [*TURN, events(6, started("2"))],
        [events(1, RUN, started("2"), FINISHED)],
    ],
)
def test_turns_that_end_wrongly_are_seen(frames: list[Frame]) -> None:
    with pytest.raises(AssertionError):
        assert_turns_end_once(frames)


def test_turns_that_end_well() -> None:
    assert_turns_end_once([*TURN, events(6, RUN, RUN, FAILED, turn="t2"), events(9, started("2"), turn=None)])


def test_what_a_user_sees_in_the_end() -> None:
    reset = {
        "type": "reset",
        "head": HEAD,
        "snapshot": {"messages": [{"id": "0", "role": "user", "content": "before"}]},
    }
    frames = [
        *TURN,
        reset,
        events(3, started("1"), content("1", "hel"), content("1", "lo"), started("2"), started("3")),
        events(8, custom("parley.message_updated", messageId="1", content="bye")),
        events(9, custom("parley.message_removed", messageId="2")),
        events(10, custom("parley.superseded", messages=["3"])),
    ]
    assert transcript(TURN) == [("user", "hi")]
    assert transcript(frames) == [("user", "before"), ("assistant", "bye")]
