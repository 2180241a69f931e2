"""Inputs and their numbers: what is kept once, what is refused, and what a full or lost store changes."""

from __future__ import annotations

import asyncio

import pytest

from app.gateway.connection import QUEUE_FRAMES
from app.store import keys
from tests.gateway.conftest import Gates, Settle
from tests.gateway.gate import Gate, Owner, fatal, is_deaf, refused, running_gate, until
from tests.support.valkey import ValkeyProcess


async def test_a_repeated_input_gets_the_same_ack_and_no_second_turn(gate: Gate) -> None:
    async with await gate.join(client="the-same") as client:
        session = client.welcome["session"]
        await client.count("message", content="x", metadata={"a": 1, "b": 2})
        first = await client.receive()
        await client.send_text('{"metadata":{"b":2,"a":1},"n":1,"content":"x","type":"message"}')
        again = await client.receive()
        assert again == first | {"duplicate": True, "queued": again["queued"]}
        async with await gate.join(session=session, client="the-same") as other:
            assert (other.welcome["acked"], other.welcome["known"]) == (1, True)
            await other.send("message", n=1, content="x", metadata={"a": 1, "b": 2})
            assert (await other.receive())["turn"] == first["turn"]
        assert len(await gate.store.inbox(session)) == 1


async def test_a_lost_welcome_costs_nothing(gate: Gate) -> None:
    first = await gate.join(client="client-one")
    session = first.welcome["session"]
    await first.close()
    lost = await gate.connect()
    gate.store.hold("after read")
    await lost.send("hello", client="client-one", session=session)
    await lost.send("message", n=1, content="behind it")
    await gate.store.waiting.wait()
    await lost.drop()  # attached, and gone before it is told so
    gate.store.free()
    await until(lambda: gate.store.accepts, "what was sent behind the hello is kept")
    async with await gate.join(client="client-one", session=session) as again:
        assert (again.welcome["known"], again.welcome["acked"]) == (True, 1)
        await again.send("message", n=1, content="behind it")
        ack = await again.receive()
        assert (ack["type"], ack["duplicate"]) == ("ack", True)
        assert len(await gate.store.inbox(session)) == 1


async def test_a_number_with_another_body_is_a_conflict(gate: Gate) -> None:
    async with await gate.join() as client:
        await client.send("message", n=1, content="x")
        await client.receive()
        await client.send("message", n=1, content="y")
        frame = await refused(client)
        assert (frame["code"], frame["n"]) == ("conflict", 1)
        await client.send("message", n=2, content="y")
        assert (await client.receive())["type"] == "ack"


async def test_a_skipped_number(gate: Gate) -> None:
    async with await gate.join() as client:
        await client.send("message", n=2, content="x")
        assert "1 was due" in await fatal(client, 4409, "counter_skipped")
        assert client.frames[-1]["n"] == 2


async def test_frames_behind_a_refused_one_are_out_of_order_until_it_comes(gate: Gate) -> None:
    async with await gate.join() as client:
        await client.send("message", n=1, content=5)
        for n in (2, 3):
            await client.send("message", n=n, content="behind")
        frames = [await refused(client) for _ in range(3)]
        assert [(frame["code"], frame["n"]) for frame in frames] == [
            ("bad_frame", 1),
            ("out_of_order", 2),
            ("out_of_order", 3),
        ]
        await client.send("message", n=1, content="mended")
        assert (await client.receive())["n"] == 1
        # 2 was refused as well, so 3 is not skipped for no reason
        await client.send("message", n=3, content="behind")
        assert (await refused(client))["code"] == "out_of_order"
        for n in (2, 3):
            await client.send("message", n=n, content="behind")
            assert (await client.receive())["index"] == n
        await client.send("message", n=5, content="skipped")
        await fatal(client, 4409, "counter_skipped")


async def test_a_full_inbox_and_a_cancel_that_gets_through_it(gates: Gates) -> None:
    gate = await gates.open(inbox_size=2)
    async with await gate.join() as client:
        for _ in range(2):
            await client.count("message", content="x")
        first, _ = [await client.receive() for _ in range(2)]
        await client.count("message", content="x")
        frame = await refused(client)
        assert (frame["code"], frame["n"]) == ("busy", 3)
        assert frame["retry_after_ms"] > 0
        assert "2 inputs" in frame["message"]
        assert "PARLEY_INBOX_SIZE" in frame["message"]
        await client.send("cancel", n=3)
        ack = await client.receive()
        assert (ack["n"], ack["index"], ack["queued"]) == (3, 3, 2)
        inputs = await gate.store.inbox(client.welcome["session"])
        assert (inputs[2].kind, inputs[2].target, inputs[2].turn) == ("cancel", first["turn"], "")


async def test_a_refusal_that_was_made_good_is_forgotten(gates: Gates) -> None:
    gate = await gates.open(inbox_size=1)
    async with await gate.join() as client:
        await client.send("message", n=1, content=5)
        assert (await refused(client))["code"] == "bad_frame"
        for n, outcome in ((1, "ack"), (2, "busy")):
            await client.send("message", n=n, content="x")
            frame = await client.receive()
            assert frame.get("code", frame["type"]) == outcome


async def test_a_cancel_hits_the_turn_it_names(gate: Gate) -> None:
    async with await gate.join() as client:
        for _ in range(2):
            await client.count("message", content="x")
        turn = [await client.receive() for _ in range(2)][1]["turn"]
        await client.count("cancel", turn=turn)
        await client.count("cancel", turn="no such turn")
        assert [(await client.receive()).get("index") for _ in range(2)] == [3, None]
        assert [i.target for i in await gate.store.inbox(client.welcome["session"])] == ["", "", turn]


async def test_an_inbox_with_too_many_bytes(gates: Gates) -> None:
    gate = await gates.open(inbox_bytes=2_000)
    async with await gate.join() as client:
        await client.count("message", content="x" * 1_500)
        assert (await client.receive())["type"] == "ack"
        await client.count("message", content="x" * 1_500)
        frame = await refused(client)
        assert (frame["code"], frame["n"]) == ("busy", 2)
        assert "PARLEY_INBOX_BYTES" in frame["message"]
        await client.send("message", n=2, content="x" * 2_500)
        assert (await refused(client))["code"] == "too_large"


async def test_controls_have_a_bound_of_their_own(gate: Gate) -> None:
    async with await gate.join() as client:
        for _ in range(33):
            await client.count("end")
        frames = [await client.receive() for _ in range(33)]
        assert [frame["type"] for frame in frames] == ["ack"] * 32 + ["error"]
        assert frames[-1]["code"] == "busy"
        await client.send("message", n=33, content="this is not one of them")
        assert (await client.receive())["type"] == "ack"


async def test_a_cancel_with_nothing_to_cancel_is_acknowledged(gate: Gate) -> None:
    async with await gate.join() as client:
        await client.count("cancel")
        ack = await client.receive()
        assert (ack["type"], "index" in ack, "turn" in ack) == ("ack", False, False)
        assert await gate.store.inbox(client.welcome["session"]) == []


async def test_a_client_that_was_forgotten_is_not_known(gate: Gate, shared_valkey: ValkeyProcess) -> None:
    async with await gate.join(client="long-gone") as client:
        session = client.welcome["session"]
        await client.count("message", content="x")
        await client.receive()
    async with shared_valkey.async_client() as redis:
        await redis.delete(keys.meta(session).replace(":m:", ":d:"))
    async with await gate.join(session=session, client="long-gone") as again:
        assert (again.welcome["acked"], again.welcome["known"]) == (0, False)


async def test_an_input_after_the_end_closes(gates: Gates, shared_valkey: ValkeyProcess) -> None:
    gate, elsewhere = await gates.open(), await gates.store()
    async with await gate.join() as client:
        session = client.welcome["session"]
        await is_deaf(shared_valkey, session, gate.store.worker, deaf=True)
        await (await Owner.of(elsewhere, session)).write(end=True)
        await client.count("message", content="x")
        await fatal(client, 4410, "session_ended")


# ---- a store in trouble


async def test_a_store_out_of_memory_is_busy_and_never_acknowledges(gate: Gate, shared_valkey: ValkeyProcess) -> None:
    async with await gate.join() as client, shared_valkey.async_client() as redis:
        await redis.config_set("maxmemory", "1")
        try:
            for _ in range(2):
                await client.count("message", content="x")
            frames = [await refused(client) for _ in range(2)]
            assert [(frame["code"], frame["n"]) for frame in frames] == [("busy", 1), ("out_of_order", 2)]
            assert frames[0]["retry_after_ms"] > 0
            async with await gate.connect() as newcomer:
                await newcomer.send("hello", client="newcomer")
                assert (await newcomer.closed())[0] == 1013
                assert newcomer.frames[-1]["reason"] == "busy"
            # but who has a session can attach to it
            async with await gate.join(session=client.welcome["session"]):
                pass
        finally:
            await redis.config_set("maxmemory", "0")
        await client.send("message", n=1, content="x")
        assert (await client.receive())["type"] == "ack"


async def test_a_store_that_is_gone_is_busy_and_its_waiters_are_told_at_once(
    valkey: ValkeyProcess, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.store.redis.PATIENCE", 0.5)
    async with running_gate(valkey.url, settle()) as gate, await gate.join() as client:
        await asyncio.to_thread(valkey.kill)
        for _ in range(40):
            await client.count("message", content="x")
        frames = [await refused(client) for _ in range(40)]
        assert [frame["code"] for frame in frames] == ["busy"] + ["out_of_order"] * 39
        assert gate.store.accepts < 5  # each waits for as long as the store is given
        await asyncio.to_thread(valkey.start)
        frame = frames[0]
        while frame["type"] == "error":
            await asyncio.sleep(frame["retry_after_ms"] / 1000)
            await client.send("message", n=1, content="x")
            frame = await client.receive()
        assert (frame["type"], frame["n"]) == ("ack", 1)


async def test_more_frames_than_the_queue_holds_wait_and_none_is_lost(gate: Gate) -> None:
    async with await gate.join() as client:
        (connection,) = gate.endpoint._connections
        gate.store.hold("accept")
        for _ in range(40):
            await client.count("message", content="x" * 10_000)
        for _ in range(500):
            await client.send("ping")
        await until(lambda: len(connection._queue or ()) == QUEUE_FRAMES, "the queue is full")
        await asyncio.sleep(0.05)
        assert len(connection._queue or ()) == QUEUE_FRAMES
        gate.store.free()
        for _ in range(540):
            await client.receive()
        kinds = [frame["type"] for frame in client.frames[1:]]
        assert kinds == ["ack"] * 40 + ["pong"] * 500


async def test_the_queue_is_bounded_in_bytes_too(gate: Gate) -> None:
    async with await gate.join() as client:
        (connection,) = gate.endpoint._connections
        gate.store.hold("accept")
        for _ in range(8):
            await client.count("message", content="x" * 250_000)
        await until(lambda: connection._queued_bytes > 1_048_576, "the queue is full")
        await asyncio.sleep(0.05)
        assert connection._queued_bytes < 1_048_576 + 262_144
        gate.store.free()
        for _ in range(8):
            assert (await client.receive())["type"] == "ack"
