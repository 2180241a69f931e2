"""Inputs that are refused: tried again, given back to their sender, or put before others."""

from __future__ import annotations

import asyncio

import pytest

from app.client import InputRefused, connect
from tests.client.fake import Peer, acked, expect, playing, stays


async def test_a_busy_server_is_tried_again_with_all_that_stood_behind() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"), (2, "b"), (3, "c"))
        await peer.ack(1, "t1")
        loop = asyncio.get_running_loop()
        before = loop.time()
        await peer.error("busy", 2, after=300)
        await peer.error("out_of_order", 3)
        await expect(peer, (2, "b"))
        assert loop.time() - before > 0.29
        await expect(peer, (3, "c"))
        await peer.ack(2, "t2")
        await peer.ack(3, "t3")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        sent = [await client.send(text) for text in "abc"]
        assert [await acked(each) for each in sent] == [(1, "t1"), (2, "t2"), (3, "t3")]


async def test_a_cancel_overtakes_what_waits_for_room() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"), (2, "b"))
        # what is refused comes again in an hour; but a stop is not stopped
        await peer.error("busy", 1, after=3_600_000)
        await peer.error("out_of_order", 2)
        await expect(peer, (1, "cancel"))
        await peer.ack(1)
        await expect(peer, (2, "answer"))
        await peer.error("busy", 2, after=3_600_000)
        await expect(peer, (2, "end"))
        await peer.ack(2)
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        a, b = await client.send("a"), await client.send("b")
        await client._link.listen_until(client._link.inputs.retry_at)
        assert await acked(await client.cancel()) == (1, None)
        answer = await client.answer("ask", "yes")
        await client._link.listen_until(lambda: answer.waits)
        assert await acked(await client.end()) == (2, None)
        assert [a.n, b.n, answer.n] == [4, 5, 3]


async def test_a_cancel_that_was_sent_behind_a_refused_message_overtakes_it_too() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"), (2, "cancel"))
        await peer.error("busy", 1, after=200)
        await peer.error("out_of_order", 2)
        await expect(peer, (1, "cancel"))
        await peer.ack(1)
        await expect(peer, (2, "a"))
        await peer.ack(2, "t2")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        a, cancel = await client.send("a"), await client.cancel()
        assert await acked(cancel) == (1, None)
        assert await acked(a) == (2, "t2")


async def test_a_cancel_goes_first_again_when_it_is_time() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"))
        await peer.error("busy", 1, after=100)
        await expect(peer, (1, "cancel"))
        await peer.error("busy", 1, after=100)
        await expect(peer, (1, "cancel"))
        await peer.error("busy", 1, after=100)
        await expect(peer, (1, "cancel"))
        await peer.ack(1)
        await expect(peer, (2, "a"))
        await peer.ack(2, "t2")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        a = await client.send("a")
        await client._link.listen_until(client._link.inputs.retry_at)
        assert await acked(await client.cancel()) == (1, None)
        assert await acked(a) == (2, "t2")


async def test_a_busy_server_may_have_taken_an_input_after_all() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"))
        # its store took it, and it had no word of it
        await peer.error("busy", 1, after=3_600_000)
        await expect(peer, (1, "cancel"))
        await peer.error("conflict", 1)
        await expect(peer, (1, "a"))
        await peer.ack(1, "t1", duplicate=True)
        await expect(peer, (2, "cancel"))
        await peer.ack(2)
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        a = await client.send("a")
        await client._link.listen_until(client._link.inputs.retry_at)
        assert await acked(await client.cancel()) == (2, None)
        assert await acked(a) == (1, "t1")


async def test_a_new_connection_tells_what_a_busy_server_had_taken_after_all() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"))
        await peer.error("busy", 1, after=3_600_000)
        await expect(peer, (1, "cancel"))
        peer.drop()

    async def second(peer: Peer) -> None:
        # one of the two was taken; until it is known which, the other must not come under a new number
        await peer.welcome(acked=1)
        await expect(peer, (1, "cancel"))
        await peer.error("conflict", 1)
        await expect(peer, (1, "a"))
        await peer.ack(1, "t1", duplicate=True)
        await expect(peer, (2, "cancel"))
        await peer.ack(2)
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        a = await client.send("a")
        await client._link.listen_until(client._link.inputs.retry_at)
        assert await acked(await client.cancel()) == (2, None)
        assert await acked(a) == (1, "t1")


@pytest.mark.parametrize("code", ["bad_frame", "not_allowed"])
async def test_a_refused_input_is_its_senders_and_its_number_goes_to_the_next(code: str) -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"), (2, "b"), (3, "c"))
        await peer.error(code, 1)
        # nothing is sent before all on its way is answered, or an answer could be taken for another's
        await peer.error("out_of_order", 2)
        await peer.error("out_of_order", 3)
        await expect(peer, (1, "b"), (2, "c"))
        await peer.ack(1, "t1")
        await peer.ack(2, "t2")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        a, b, c = [await client.send(text) for text in "abc"]
        with pytest.raises(InputRefused, match=f"{code}: because") as refused:
            await a.acked()
        assert refused.value.code == code
        assert [await acked(b), await acked(c)] == [(1, "t1"), (2, "t2")]


async def test_a_conflict_is_its_senders_and_its_number_is_used_up() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"))
        await peer.error("conflict", 1)
        await expect(peer, (2, "b"))
        await peer.ack(2, "t2")
        await stays(peer)

    async with playing(scene) as server, connect(server.url) as client:
        a = await client.send("a")
        with pytest.raises(InputRefused, match="conflict"):
            await a.acked()
        assert await acked(await client.send("b")) == (2, "t2")


async def test_a_skipped_number_is_put_right_by_the_next_welcome() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome(acked=3)
        await expect(peer, (4, "a"))
        await peer.error("skipped", 4, fatal=True)
        await peer.socket.close(4409)

    async def second(peer: Peer) -> None:
        await peer.welcome(acked=2)
        await expect(peer, (3, "a"))
        await peer.ack(3, "t3")
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        assert await acked(await client.send("a")) == (3, "t3")


async def test_out_of_order_for_no_reason_calls_for_a_new_connection() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await expect(peer, (1, "a"))
        await peer.error("out_of_order", 1)
        await peer.gone()

    async def second(peer: Peer) -> None:
        await peer.welcome(acked=7)
        await expect(peer, (1, "a"))
        await peer.ack(1, "t1", duplicate=True)
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        assert await acked(await client.send("a")) == (1, "t1")
