"""A turn by itself: its events, its text, and what becomes of both when the turn runs again or is reset."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.client import Event, ResetEvent, TurnFailed, connect
from app.protocol import events
from app.protocol.frames import Position
from tests.client.fake import Peer, knocking, playing, reply, stays

Made = dict[str, Any]


async def take_message(peer: Peer, turn: str) -> dict[str, Any]:
    frame = await peer.frame("message")
    await peer.ack(frame["n"], turn)
    return frame


def begun(turn: str, frame: dict[str, Any]) -> list[Made]:
    """How a turn begins: four events."""
    return [events.run_started("s1", turn), *events.text_message(frame["id"], frame["content"], "user")]


async def test_ask_returns_the_text_of_all_messages() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        frame = await take_message(peer, "t1")
        await peer.events(1, *begun("t1", frame), turn="t1")
        await peer.events(5, *events.text_message("push", "from outside"))
        await peer.events(8, events.text_start("a"), events.text_content("a", "Re"), turn="t1")
        await peer.events(10, events.text_content("a", "ceived"), events.text_end("a"), turn="t1")
        await peer.events(12, *events.text_message("b", "gone"), *events.text_message("c", "old"), turn="t1")
        await peer.events(18, events.message_removed("b"), events.message_updated("c", "new"), turn="t1")
        await peer.events(20, events.run_finished("s1", "t1"), turn="t1")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        assert await client.ask("hello") == "Received\nnew"


async def test_ask_drops_what_was_superseded() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        frame = await take_message(peer, "t1")
        await peer.events(1, *begun("t1", frame), events.text_start("a"), events.text_content("a", "ha"), turn="t1")
        peer.drop()

    async def second(peer: Peer) -> None:
        await peer.welcome(acked=1)
        again = [events.text_end("a"), events.superseded(["a"]), events.run_started("s1", "t1")]
        await peer.events(7, *again, turn="t1", attempt=2)
        await peer.events(10, *events.text_message("b", "whole"), turn="t1", attempt=2)
        await peer.events(13, events.run_finished("s1", "t1"), turn="t1", attempt=2)
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        assert await client.ask("hello") == "whole"


async def test_ask_raises_what_the_turn_ended_with() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1")
        await peer.events(1, *events.text_message("a", "half"), events.run_error("it broke", "timeout"), turn="t1")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        with pytest.raises(TurnFailed, match="it broke") as failed:
            await client.ask("hello")
        assert failed.value.code == "timeout"


async def test_a_turn_has_its_own_events_only() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1")
        await take_message(peer, "t2")
        await peer.events(1, *reply("t0", "theirs"), turn="t0")
        await peer.events(6, *reply("t1", "one"), turn="t1")
        await peer.events(11, *reply("t2", "two"), turn="t2")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        one, two = await client.send("one"), await client.send("two")
        assert [item.position.seq async for item in client.turn(one)] == [6, 7, 8, 9, 10]
        assert client.is_over(one)
        assert not client.is_over(two)
        assert [item.position.seq async for item in client.turn(two)] == [11, 12, 13, 14, 15]


async def test_a_turn_whose_end_was_passed_over_is_over() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1")
        await take_message(peer, "t2")
        await peer.events(1, events.run_started("s1", "t1"), turn="t1")
        # the agent takes one message at a time and rejects the second
        await peer.events(2, events.run_error("one at a time", "rejected"), turn="t2")
        await peer.events(3, events.run_finished("s1", "t1"), turn="t1")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        one, two = await client.send("one"), await client.send("two")
        assert await client.answer_to(one) == ""
        assert [item async for item in client.turn(two)] == []
        with pytest.raises(TurnFailed, match="passed over"):
            await client.answer_to(two)


async def test_what_is_no_turn_has_no_events() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        cancel = await peer.frame("cancel")
        await peer.ack(cancel["n"])
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        cancel = await client.cancel()
        with pytest.raises(ValueError, match="no turn for this cancel"):
            await client.answer_to(cancel)


async def test_a_turn_that_the_store_lost_is_followed_in_its_new_shape() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        frame = await take_message(peer, "t1")
        await peer.events(1, *begun("t1", frame), events.text_start("a"), events.text_content("a", "ha"), turn="t1")
        peer.drop()

    async def second(peer: Peer) -> None:
        hello = await peer.welcome(acked=0, head=Position(0, ""))
        assert hello["since"]["seq"] == 6
        await peer.reset(Position(0, ""), "ahead")
        frame = await peer.frame("message")
        # another worker may be faster with the turn than this one with the ack
        await peer.events(1, *begun("t2", frame), *events.text_message("b", "whole"), turn="t2")
        await peer.frame("ping")
        await peer.ack(1, "t2")
        await peer.events(8, events.run_finished("s1", "t2"), turn="t2")
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client, asyncio.timeout(10):
        asking = asyncio.create_task(client.ask("hello"))
        buffer = client._link.buffer
        await client._link.listen_until(lambda: buffer.handed >= buffer.place(1) > (0, 1))
        async with knocking(client):
            assert await asking == "whole"


async def test_a_turn_that_did_not_begin_outlives_a_reset() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        frame = await take_message(peer, "t1")
        await peer.reset(Position(70, "m"), messages=[{"id": "other", "role": "user", "content": "before"}])
        await peer.events(71, *begun("t1", frame), *events.text_message("a", "late"), turn="t1")
        await peer.events(78, events.run_finished("s1", "t1"), turn="t1")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client, asyncio.timeout(10):
        assert await client.ask("hello") == "late"


@pytest.mark.parametrize("still_open", [True, False])
async def test_a_turn_goes_on_from_a_snapshot(*, still_open: bool) -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        frame = await take_message(peer, "t1")
        await peer.events(1, *begun("t1", frame), events.text_start("a"), events.text_content("a", "ha"), turn="t1")
        asked.append(frame)
        peer.drop()

    async def second(peer: Peer) -> None:
        await peer.welcome(acked=1)
        messages = [
            {"id": "old", "role": "user", "content": "before"},
            {"id": "older", "role": "assistant", "content": "an answer"},
            {"id": asked[0]["id"], "role": "user", "content": "hello"},
            {"id": "a", "role": "assistant", "content": "half"},
            {"id": "later", "role": "user", "content": "after"},
            {"id": "latest", "role": "assistant", "content": "another answer"},
        ]
        running = [{"kind": "turn", "id": "t1", "attempt": 1}, {"kind": "text", "id": "a", "turn": "t1"}]
        await peer.reset(Position(5_000, "m"), messages=messages, open=running if still_open else [])
        if still_open:
            await peer.events(5_001, events.text_content("a", " a word"), turn="t1")
            await peer.events(5_002, events.text_end("a"), events.run_finished("s1", "t1"), turn="t1")
        await stays(peer)

    asked: list[dict[str, Any]] = []
    async with playing(first, second) as server, connect(server.url) as client, asyncio.timeout(10):
        sent = await client.send("hello")
        assert await client.answer_to(sent) == ("half a word" if still_open else "half")
        assert not client._link.inputs.keeps(sent)


async def test_a_reset_is_part_of_a_turn() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1")
        await peer.events(1, events.run_started("s1", "t1"), turn="t1")
        await peer.frame("ping")
        await peer.reset(Position(70, "n"), open=[{"kind": "turn", "id": "t1", "attempt": 1}])
        await peer.events(71, events.run_finished("s1", "t1"), turn="t1", mark="n")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        sent = await client.send("hello")
        items = []
        async for item in client.turn(sent):
            items.append(item)
            if len(items) == 1:
                async with knocking(client):
                    await client._link.listen_until(lambda: client._link.buffer.position.seq > 1)
        assert [type(item) for item in items] == [Event, ResetEvent, Event]
