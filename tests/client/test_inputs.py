"""Inputs on the wire: kept, numbered and sent again as the counting rules say."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from app.client import InputRefused, connect
from app.client.inputs import MAX_KEPT
from app.errors import ProtocolError
from app.protocol import events
from app.protocol.frames import Position
from tests.client.fake import Peer, acked, expect, knocking, playing, reply, stays, take


async def test_every_kind_of_input_has_the_next_number() -> None:
    frames: list[dict[str, Any]] = []

    async def scene(peer: Peer) -> None:
        await peer.welcome(acked=4)
        for n in range(5, 12):
            frame = await peer.frame("message", "cancel", "answer", "action", "end")
            frames.append(frame)
            await peer.ack(frame["n"])
            assert frame["n"] == n
        await stays(peer)

    async with playing(scene) as server, connect(server.url, client="program-run-1") as client:
        await client.send("hello", id="my-id", metadata={"a": 1}, command="draw")
        await client.send([{"type": "text", "text": "hello"}])
        await client.cancel("t1")
        await client.answer("a1")
        await client.answer("a2", cancelled=True)
        await client.action("retry", {"x": 1}, message="m1")
        assert await acked(await client.end()) == (11, None)
    for frame in frames:
        del frame["n"]
    made_up = frames[1].pop("id")
    assert len(made_up) > 16
    assert frames == [
        {"type": "message", "content": "hello", "id": "my-id", "metadata": {"a": 1}, "command": "draw"},
        {"type": "message", "content": [{"type": "text", "text": "hello"}]},
        {"type": "cancel", "turn": "t1"},
        {"type": "answer", "ask": "a1", "value": None},
        {"type": "answer", "ask": "a2", "cancelled": True},
        {"type": "action", "name": "retry", "payload": {"x": 1}, "for": "m1"},
        {"type": "end"},
    ]


async def test_what_the_server_did_not_get_is_sent_again_in_order() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"), (2, "b"), (3, "c"))
        await peer.ack(1, "t1")
        peer.drop()

    async def second(peer: Peer) -> None:
        await peer.welcome(acked=1)
        await expect(peer, (2, "b"), (3, "c"))
        await peer.ack(2, "t2")
        await peer.ack(3, "t3")
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        sent = [await client.send(text) for text in "abc"]
        assert [await acked(each) for each in sent] == [(1, "t1"), (2, "t2"), (3, "t3")]
        assert [each.n for each in sent] == [1, 2, 3]


async def test_an_ack_that_was_lost_is_asked_for_again() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"), (2, "b"))
        peer.drop()

    async def second(peer: Peer) -> None:
        await peer.welcome(acked=2)
        await expect(peer, (1, "a"), (2, "b"), (3, "c"))
        await peer.ack(1, "t1", duplicate=True)
        await peer.ack(2, "t2", duplicate=True)
        await peer.ack(3, "t3")
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        a, b = await client.send("a"), await client.send("b")
        # sent in the pause between the connections or after it, it comes after the others either way
        await server.scene(2)
        c = await client.send("c")
        assert [await acked(each) for each in (a, b, c)] == [(1, "t1"), (2, "t2"), (3, "t3")]


async def test_a_repeat_is_the_same_bytes_whatever_became_of_the_callers_objects() -> None:
    frames = []

    async def first(peer: Peer) -> None:
        await peer.welcome()
        frames.append(await peer.socket.recv())
        peer.drop()

    async def second(peer: Peer) -> None:
        await peer.welcome()
        frames.append(await peer.socket.recv())
        await peer.ack(1)
        await stays(peer)

    metadata = {"a": 1}
    async with playing(first, second) as server, connect(server.url) as client:
        sent = await client.send("hello", metadata=metadata)
        metadata["a"] = 2
        await acked(sent)
    assert frames[0] == frames[1]
    assert orjson.loads(frames[0])["metadata"] == {"a": 1}


async def test_an_acked_message_is_kept_until_its_turn_has_ended() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"), (2, "b"))
        await peer.ack(1, "t1")
        await peer.ack(2, "t2")
        await peer.events(1, *reply("t1", "A"), turn="t1")
        await peer.frame("ping")
        peer.drop()

    async def second(peer: Peer) -> None:
        # the store has lost its tail: b is gone, and the answer to a is still there
        await peer.welcome(acked=1, head=Position(5, "m"))
        await expect(peer, (2, "b"), (3, "c"))
        await peer.ack(2, "t9")
        await peer.ack(3, "t10")
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        a, b = await client.send("a"), await client.send("b")
        assert await acked(b) == (2, "t2")
        await take(client.events(), 5)
        assert not client._link.inputs.keeps(a)
        async with knocking(client):
            await server.scene(2)
            c = await client.send("c")
            assert await acked(c) == (3, "t10")
            # the input is another turn now
            assert (b.n, b.turn) == (2, "t9")


async def test_numbers_follow_what_the_store_still_has() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"), (2, "b"), (3, "c"))
        for n in (1, 2, 3):
            await peer.ack(n, f"t{n}")
        # the first two turns are over, so their inputs are let go
        await peer.events(1, *reply("t1"), turn="t1")
        await peer.events(3, *reply("t2"), turn="t2")
        await peer.frame("ping")
        peer.drop()

    async def second(peer: Peer) -> None:
        await peer.welcome(acked=1)
        await expect(peer, (2, "c"))
        await peer.ack(2, "t4")
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        sent = [await client.send(text) for text in "abc"]
        await take(client.events(), 4)
        async with knocking(client):
            await client._link.listen_until(lambda: sent[2].turn == "t4")
            assert sent[2].n == 2


async def test_a_server_that_forgot_the_client_gets_all_that_is_kept_from_1() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"), (2, "b"), (3, "c"))
        for n in (1, 2, 3):
            await peer.ack(n, f"t{n}")
        await peer.events(1, *reply("t1"), turn="t1")
        await peer.frame("ping")
        peer.drop()

    async def second(peer: Peer) -> None:
        await peer.welcome(acked=0, known=False)
        await expect(peer, (1, "b"), (2, "c"), (3, "d"))
        for n in (1, 2, 3):
            await peer.ack(n, f"u{n}")
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        sent = [await client.send(text) for text in "abc"]
        await take(client.events(), 2)
        async with knocking(client):
            await server.scene(2)
            assert await acked(await client.send("d")) == (3, "u3")
            assert [each.turn for each in sent] == ["t1", "u1", "u2"]


async def test_controls_are_kept_until_their_ack_only() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"), (2, "cancel"), (3, "cancel"))
        await peer.ack(1, "t1")
        await peer.ack(2, "t1")
        peer.drop()

    async def second(peer: Peer) -> None:
        # nothing of it was kept by the store; the acked cancel must not stop another turn
        await peer.welcome(acked=0)
        await expect(peer, (1, "a"), (2, "cancel"))
        await peer.ack(1, "t5")
        await peer.ack(2)
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        await client.send("a")
        await client.cancel()
        assert await acked(await client.cancel()) == (2, None)


async def test_a_turn_may_end_before_its_ack_comes() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"))
        await peer.events(1, *reply("t1", "A"), turn="t1")
        await peer.ack(1, "t1")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        sent = await client.send("a")
        await acked(sent)
        assert not client._link.inputs.keeps(sent)
        assert [item.position.seq async for item in client.turn(sent)] == [1, 2, 3, 4, 5]


async def test_no_more_than_32_inputs_are_on_their_way() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, *[(n, "a") for n in range(1, 33)])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await peer.socket.recv()
        await peer.ack(1, "t1")
        await expect(peer, (33, "a"))
        await peer.ack(33, "t33")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        sent = [await client.send("a") for _ in range(40)]
        await acked(sent[0])
        await acked(sent[32])


async def test_send_waits_while_as_much_is_kept_as_may_be() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        for n in range(1, MAX_KEPT + 1):
            await peer.frame("message")
            await peer.ack(n, f"t{n}")
        await peer.events(1, events.run_error("no", "rejected"), turn="t7")
        await peer.frame("message")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        sent = [await client.send("a") for _ in range(MAX_KEPT)]
        one_more = asyncio.create_task(client.send("a"))
        await acked(sent[-1])
        async with asyncio.timeout(10):
            assert (await one_more).n == MAX_KEPT + 1


async def test_what_no_server_would_take_is_refused_on_the_spot() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "fine"))
        await peer.ack(1)
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        with pytest.raises(ProtocolError, match=r"message.content"):
            await client.send([])
        with pytest.raises(ProtocolError, match=r"action.name"):
            await client.action("")
        with pytest.raises(InputRefused, match="too_big: a message of 300"):
            await client.send("x" * 300_000)
        await acked(await client.send("fine"))
