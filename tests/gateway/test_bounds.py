"""Bad frames: each has its code and a message, changes nothing, and touches no other connection."""

from __future__ import annotations

import asyncio

import pytest

from tests.gateway.conftest import Gates
from tests.gateway.gate import Gate, Owner, fatal, refused
from tests.support.wire import Frame

# ---- the first frame


@pytest.mark.parametrize(
    ("text", "name", "words"),
    [
        ("{", "bad_json", "not JSON"),
        ("[]", "bad_frame", "object"),
        ('{"type":"ping"}', "bad_frame", "first frame is hello, not ping"),
        ('{"type":"message","n":1,"content":"x"}', "bad_frame", "not message"),
        ('{"type":"helo"}', "unknown_type", "helo"),
        ('{"type":"hello"}', "bad_frame", "hello.client"),
        ('{"type":"hello","client":"short"}', "bad_frame", "hello.client"),
        ('{"type":"hello","client":"12345678","since":7}', "bad_frame", "hello.since"),
        (b'{"type":"hello","client":"12345678"}', "bad_frame", "binary"),
    ],
)
async def test_a_first_frame_that_is_no_hello(gate: Gate, text: str | bytes, name: str, words: str) -> None:
    async with await gate.connect() as client:
        await client.send_text(text)
        assert words in await fatal(client, 4400, name)


async def test_no_hello_in_time(gates: Gates) -> None:
    gate = await gates.open(hello_timeout=0.05)
    async with await gate.connect() as client:
        assert "0.05 s" in await fatal(client, 4408, "no_hello")


async def test_a_hello_in_time_is_not_late_afterwards(gates: Gates) -> None:
    gate = await gates.open(hello_timeout=0.2)
    async with await gate.join() as client:
        await asyncio.sleep(0.3)
        await client.send("ping")
        assert (await client.receive())["type"] == "pong"


@pytest.mark.parametrize(
    ("members", "code", "name"),
    [
        ({"agent": "nobody"}, 4404, "no_such_agent"),
        ({"session": "nowhere"}, 4404, "no_such_session"),
    ],
)
async def test_what_does_not_exist(gate: Gate, members: Frame, code: int, name: str) -> None:
    async with await gate.connect() as client:
        await client.send("hello", client="somebody", **members)
        await fatal(client, code, name)


async def test_a_session_of_another_agent(gate: Gate) -> None:
    async with await gate.join(agent="echo") as first, await gate.connect() as second:
        await second.send("hello", client="somebody", session=first.welcome["session"], agent="greeter")
        assert "echo, not greeter" in await fatal(second, 4404, "no_such_agent")


async def test_a_session_that_has_ended(gate: Gate) -> None:
    async with await gate.join() as first:
        session = first.welcome["session"]
        await (await Owner.of(gate.store, session)).write(end=True)
        await first.closed()
    async with await gate.connect() as second:
        await second.send("hello", client="somebody", session=session)
        await fatal(second, 4410, "session_ended")


async def test_only_the_offered_subprotocol_counts(gate: Gate) -> None:
    async with await gate.connect(subprotocol="parley.v9") as client:
        assert "parley.v1" in await fatal(client, 4400, "subprotocol")


# ---- frames


@pytest.mark.parametrize(
    ("text", "name", "n"),
    [
        ('{"type":"message","n":1,"content":', "bad_json", None),
        ('{"type":"message","n":1,"content":5}', "bad_frame", 1),
        ('{"type":"message","n":0,"content":"x"}', "bad_frame", None),
        ('{"type":"message","content":"x"}', "bad_frame", None),
        ('{"type":"massage","n":1,"content":"x"}', "unknown_type", 1),
        ('{"type":"hello","client":"12345678"}', "bad_frame", None),
        (b'{"type":"ping"}', "bad_frame", None),
        ('{"type":"action","n":1,"name":"x","payload":{}}', "unsupported", 1),
    ],
)
async def test_a_bad_frame_changes_nothing(gate: Gate, text: str | bytes, name: str, n: int | None) -> None:
    async with await gate.join() as client:
        await client.send_text(text)
        frame = await refused(client)
        assert (frame["code"], frame.get("n")) == (name, n)
        assert await client.count("message", content="good") == 1
        assert (await client.receive())["index"] == 1


async def test_more_than_ten_bad_frames_a_minute_are_abuse(gate: Gate) -> None:
    async with await gate.join() as client:
        for _ in range(11):
            await client.send_text("nonsense")
        await fatal(client, 4400, "bad_json")
        assert len([frame for frame in client.frames if frame["type"] == "error"]) == 11


async def test_a_frame_over_the_limit(gates: Gates) -> None:
    gate = await gates.open(max_frame_bytes=2_000)
    async with await gate.join() as client:
        await client.count("message", content="x" * 1_900)
        assert (await client.receive())["type"] == "ack"
        await client.count("message", content="x" * 2_000)
        assert (await client.closed())[0] == 1009


async def test_too_many_frames(gates: Gates) -> None:
    gate = await gates.open(max_frames_per_second=1)
    async with await gate.join() as client:
        for _ in range(10):  # with hello eleven, and ten seconds' worth are ten
            await client.send("ping")
        assert (await client.closed())[0] == 4429
        bye = client.frames[-1]
        assert (bye["reason"], bye["reconnect"]) == ("too_many_frames", True)
        assert bye["after_ms"] > 0
