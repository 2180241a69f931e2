"""The log as a client sees it: every event once and in order, whatever happens to its connections."""

from __future__ import annotations

import asyncio

import pytest

from app.client import Event, ResetEvent, connect
from app.client.buffer import MAX_EVENTS
from app.protocol import events
from app.protocol.codec import encode_pong
from app.protocol.frames import Position
from tests.client.fake import Peer, knocking, numbers, playing, reply, stays, take


def seqs(items: list[Event]) -> list[int]:
    return [item.position.seq for item in items]


async def test_events_come_in_order_with_their_positions() -> None:
    async def scene(peer: Peer) -> None:
        hello = await peer.welcome()
        assert hello["agent"] == "echo"
        assert "since" not in hello
        await peer.events(1, *reply("t1", "hi"), turn="t1", attempt=2)
        await stays(peer)

    async with playing(scene) as server, connect(server.url, agent="echo") as client:
        got = await take(client.events(), 5)
        assert seqs(got) == [1, 2, 3, 4, 5]
        assert got[2] == Event(Position(3, "m"), "t1", 2, events.text_content("t1-0", "hi"))
        assert client.session == "s1"


async def test_a_drop_in_mid_stream_is_resumed_after_the_last_event() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, *numbers(3))
        await peer.frame("ping")
        peer.drop()

    async def second(peer: Peer) -> None:
        hello = await peer.welcome(head=Position(5, "m2"))
        assert hello["since"] == {"seq": 3, "mark": "m"}
        assert hello["session"] == "s1"
        assert "agent" not in hello
        await peer.events(4, *numbers(2), mark="m2")
        await stays(peer)

    states: list[bool] = []
    async with playing(first, second) as server:
        async with connect(server.url, on_state=lambda why: states.append(why is None)) as client:
            source = client.events()
            before = await take(source, 3)
            async with knocking(client):
                after = await take(source, 2)
        assert seqs(before + after) == [1, 2, 3, 4, 5]
        assert states == [True, False, True]


async def test_what_is_in_the_buffer_counts_as_handled() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, *numbers(3))
        await peer.frame("message")
        await peer.ack(1)
        await peer.frame("message")
        peer.drop()

    async def second(peer: Peer) -> None:
        hello = await peer.welcome(acked=1)
        assert hello["since"] == {"seq": 3, "mark": "m"}
        await peer.frame("message")
        await peer.ack(2)
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        # the ack comes after the events, so they are in the buffer, and nobody has asked for them yet
        await (await client.send("one")).acked()
        await (await client.send("two")).acked()
        assert seqs(await take(client.events(), 3)) == [1, 2, 3]


async def test_repeated_events_are_dropped() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, *numbers(2))
        await peer.events(1, *numbers(2))
        await peer.events(2, *numbers(2))
        await peer.events(4, events.toast("last"))
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        got = await take(client.events(), 4)
        assert seqs(got) == [1, 2, 3, 4]
        assert [item.event["value"]["message"] for item in got] == ["1", "2", "2", "last"]


async def test_a_gap_is_not_handed_out_but_read_again() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, *numbers(2))
        await peer.events(4, events.toast("too early"))
        await peer.gone()

    async def second(peer: Peer) -> None:
        hello = await peer.welcome()
        assert hello["since"] == {"seq": 2, "mark": "m"}
        await peer.events(3, *numbers(2))
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        got = await take(client.events(), 4)
        assert seqs(got) == [1, 2, 3, 4]
        assert got[3].event["value"]["message"] == "2"


async def test_a_lost_welcome_costs_nothing() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, *numbers(1))
        peer.drop()

    async def second(peer: Peer) -> None:
        await peer.frame("hello")
        peer.drop()

    async def third(peer: Peer) -> None:
        hello = await peer.welcome()
        assert hello["since"] == {"seq": 1, "mark": "m"}
        await peer.events(2, *numbers(1))
        await stays(peer)

    async with playing(first, second, third) as server, connect(server.url) as client:
        assert seqs(await take(client.events(), 2)) == [1, 2]


async def test_since_is_where_an_earlier_run_left_off() -> None:
    async def scene(peer: Peer) -> None:
        hello = await peer.welcome()
        assert hello["since"] == {"seq": 7, "mark": "m"}
        assert hello["session"] == "s9"
        await peer.events(6, *numbers(3))
        await stays(peer)

    async with playing(scene) as server, connect(server.url, session="s9", since=Position(7, "m")) as client:
        assert seqs(await take(client.events(), 1)) == [8]


async def test_a_reset_replaces_what_waits_and_the_position() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, *numbers(9))
        peer.drop()

    async def second(peer: Peer) -> None:
        hello = await peer.welcome(head=Position(4, "n"))
        assert hello["since"] == {"seq": 9, "mark": "m"}
        await peer.reset(Position(4, "n"), "ahead", messages=[{"id": "a", "role": "user", "content": "hi"}])
        await peer.frame("ping")
        peer.drop()

    async def third(peer: Peer) -> None:
        hello = await peer.welcome()
        assert hello["since"] == {"seq": 4, "mark": "n"}
        await peer.events(5, *numbers(1), mark="n")
        await stays(peer)

    async with playing(first, second, third) as server, connect(server.url) as client:
        source = client.events()
        await take(source, 3)
        async with knocking(client):
            await server.scene(3)
            reset, event = await take(source, 2)
        assert isinstance(reset, ResetEvent)
        assert (reset.reason, reset.position) == ("ahead", Position(4, "n"))
        assert reset.snapshot.messages[0]["content"] == "hi"
        assert event.position == Position(5, "n")


async def test_a_ping_is_answered_over_as_many_connections_as_it_takes() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.frame("ping")
        peer.drop()

    async def second(peer: Peer) -> None:
        await peer.welcome()
        ping = await peer.frame("ping")
        await peer.send(encode_pong(ping["t"] + 1, 0))
        await peer.send(encode_pong(ping["t"], 0))
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client, asyncio.timeout(10):
        assert await client.ping() > 0


async def test_a_slow_consumer_stops_the_reading_and_loses_nothing() -> None:
    total = 20 * MAX_EVENTS
    written = 0

    async def scene(peer: Peer) -> None:
        nonlocal written
        await peer.welcome()
        for seq in range(1, total, 20):
            await peer.events(seq, *[events.toast("x" * 900)] * 20)
            written = seq
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        source = client.events()
        await take(source, 1)
        buffer = client._link.buffer
        # the server comes to a halt: nothing is read for as long as nothing is handed out
        halted = 0
        while written != halted or not buffer.full():
            halted = written
            await asyncio.sleep(0.2)
        assert written < total - 20
        assert len(buffer) <= MAX_EVENTS + 20
        assert seqs(await take(source, total - 1)) == list(range(2, total + 1))


async def test_a_full_buffer_does_not_keep_an_ack_from_who_waits_for_it() -> None:
    total = 3 * MAX_EVENTS

    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.frame("message")
        for seq in range(1, total, 100):
            await peer.events(seq, *numbers(100))
        await peer.ack(1)
        await peer.gone()

    async def second(peer: Peer) -> None:
        hello = await peer.welcome(acked=1)
        since = hello["since"]["seq"]
        assert MAX_EVENTS <= since < total
        await peer.events(since + 1, *numbers(total - since))
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        sent = await client.send("hello")
        async with asyncio.timeout(10):
            await sent.acked()
        assert len(client._link.buffer) <= MAX_EVENTS + 100
        assert seqs(await take(client.events(), total)) == list(range(1, total + 1))


async def test_events_are_read_in_one_place_only() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        reading = asyncio.create_task(take(client.events(), 1))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="read in one place"):
            await anext(client.events())
        reading.cancel()
