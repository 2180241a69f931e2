"""How connections end, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest
from websockets.exceptions import ConnectionClosed

from app.gateway.connection import Connection
from app.metrics import CLOSES, CONNECTIONS
from app.protocol.frames import START
from tests.gateway.conftest import Gates
from tests.gateway.gate import Gate, Owner, reach, saying, until
from tests.support.wire import WireClient


async def flood(gate: Gate, client: WireClient, megabytes: int = 30) -> int:
    """Write more than a client's socket can hold that nobody reads; the most bytes that waited for it."""
    owner = await Owner.of(gate.store, client.welcome["session"])
    (connection,) = gate.endpoint._connections
    most = 0
    for number in range(megabytes * 5):
        await owner.write(saying(f"m{number}", "x" * 200_000))
        most = max(most, connection._outbox.waiting_bytes)
    return most


def too_slow() -> float:
    """Connections so far that were closed for reading too slowly."""
    count: float = CLOSES.labels(4431)._value.get()
    return count


async def test_a_client_that_does_not_read_is_closed_and_costs_no_more_than_the_bound(gates: Gates) -> None:
    gate = await gates.open(outbox_bytes=1_000_000, send_timeout=0.3)
    client = await gate.join()
    assert await flood(gate, client) <= 1_000_000
    await until(lambda: gate.endpoint.connections == 0, "the connection has ended")
    assert gate.store.listeners.sessions() == []
    await client.drop()


async def test_the_transport_of_a_client_that_does_not_read_goes_too(gates: Gates) -> None:
    gate = await gates.open(outbox_bytes=1_000_000, send_timeout=0.3, dead_peer_ms=1_000)
    client = await gate.join()
    await flood(gate, client)
    await until(lambda: not gate.server.server_state.connections, "the transport is gone")
    await client.drop()


async def test_a_client_whose_socket_takes_nothing_is_closed_at_the_deadline(gates: Gates) -> None:
    gate = await gates.open(outbox_bytes=100_000_000, send_timeout=0.3)
    before = too_slow()
    client = await gate.join()
    await flood(gate, client)
    await until(lambda: gate.endpoint.connections == 0, "the connection has ended")
    assert too_slow() == before + 1
    await client.drop()


async def test_a_client_that_reads_again_in_time_misses_nothing(gates: Gates) -> None:
    gate = await gates.open(outbox_bytes=1_000_000, send_timeout=20)
    async with await gate.join() as client:
        assert await flood(gate, client) <= 1_000_000
        page = await gate.store.read(client.welcome["session"], START)
        await reach(client, page.head.seq)


async def test_a_replay_longer_than_the_outbox_does_not_close_who_reads_slowly(gates: Gates) -> None:
    gate = await gates.open(outbox_bytes=200_000)
    async with await gate.join() as first:
        session = first.welcome["session"]
        owner = await Owner.of(gate.store, session)
        for number in range(60):
            await owner.write(saying(f"m{number}", "x" * 200_000))
            await reach(first, owner.at)
    async with await gate.join(session=session) as slow:
        while slow.since["seq"] < owner.at:
            await slow.receive()
            await asyncio.sleep(0.005)


async def test_drain_sends_everybody_away_and_lets_nobody_in(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.endpoint.DRAIN_BATCH", 2)
    clients = [await gate.join() for _ in range(5)]
    owner = await Owner.of(gate.store, clients[0].welcome["session"])
    await owner.say("still told")
    await gate.endpoint.drain()
    assert gate.endpoint.connections == 0
    for client in clients:
        assert await client.closed() == (1012, "worker is going away")
        bye = client.frames[-1]
        assert (bye["type"], bye["reason"], bye["reconnect"]) == ("bye", "going_away", True)
    assert [frame["type"] for frame in clients[0].frames[1:]] == ["events", "bye"]
    late = await gate.connect()
    assert (await late.closed())[0] == 1012


async def test_drain_does_not_wait_for_who_does_not_read(gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.gateway.endpoint.DRAIN_WITHIN", 0.2)
    gate = await gates.open(outbox_bytes=100_000_000, send_timeout=60)
    client = await gate.join()
    await flood(gate, client)
    async with asyncio.timeout(10):
        await gate.endpoint.drain()
    assert gate.endpoint.connections == 1
    await client.drop()


def alive() -> list[Connection]:
    """Connections that something still refers to."""
    gc.collect()
    return [thing for thing in gc.get_objects() if isinstance(thing, Connection)]


@pytest.fixture
async def nothing_left(gate: Gate) -> AsyncIterator[None]:
    """What runs in the loop and what is counted is the same after a test as before."""
    before = asyncio.all_tasks()
    counted = CONNECTIONS._value.get()
    yield
    await until(lambda: gate.endpoint.connections == 0, "all connections have ended")
    await until(lambda: asyncio.all_tasks() - before <= {asyncio.current_task()}, "all tasks have ended")
    # a timer that still runs would hold one
    await until(lambda: not alive(), "all connections are forgotten")
    assert gate.store.listeners.sessions() == []
    assert CONNECTIONS._value.get() == counted
    assert not gate.endpoint._admission.total


@pytest.mark.usefixtures("nothing_left")
async def test_nothing_is_left_of_clients_that_leave_in_any_way(gate: Gate) -> None:
    silent = await gate.connect()
    await silent.drop()
    polite = await gate.join()
    await polite.close()
    rude = await gate.join()
    owner = await Owner.of(gate.store, rude.welcome["session"])
    await owner.say("to nobody")
    await rude.drop()
    await owner.say("to nobody at all")
    wrong = await gate.join()
    await wrong.send("message", n=7, content="x")
    await wrong.closed()
    stranger = await gate.connect()
    await stranger.send("hello", client="stranger", session="nowhere")
    await stranger.closed()


@pytest.mark.usefixtures("nothing_left")
async def test_nothing_is_left_of_a_client_that_goes_while_it_is_attached(gate: Gate) -> None:
    gate.store.hold("attach")
    client = await gate.connect()
    await client.send("hello", client="impatient")
    await gate.store.waiting.wait()
    await client.drop()
    gate.store.free()


@pytest.mark.usefixtures("nothing_left")
async def test_nothing_is_left_of_a_client_that_goes_in_its_replay(gate: Gate) -> None:
    async with await gate.join() as client:
        gate.store.hold("read")
        gate.store.listeners.look(client.welcome["session"])
        await gate.store.waiting.wait()
        await client.drop()
    await until(lambda: gate.endpoint.connections == 0, "the connection has ended")
    gate.store.free()


@pytest.mark.usefixtures("nothing_left")
async def test_a_drain_during_a_hello(gate: Gate) -> None:
    gate.store.hold("attach")
    client = await gate.connect()
    await client.send("hello", client="unlucky-one")
    await gate.store.waiting.wait()
    drain = asyncio.create_task(gate.endpoint.drain())
    assert (await client.closed())[0] == 1012
    gate.store.free()
    await drain
    assert [frame["type"] for frame in client.frames] == ["bye"]


async def test_what_was_sent_before_a_tab_was_closed_is_kept(gate: Gate) -> None:
    client = await gate.join()
    for _ in range(5):
        await client.count("message", content="and gone")
    await client.close()
    await until(lambda: gate.endpoint.connections == 0, "the connection has ended")
    assert len(await gate.store.inbox(client.welcome["session"])) == 5


async def test_a_fault_of_the_server_closes_one_connection_and_says_no_more_than_a_reference(
    gate: Gate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("secret detail")

    async with await gate.join() as other, await gate.join() as client:
        with monkeypatch.context() as patch:
            patch.setattr(gate.store, "accept", fail)
            await client.count("message", content="x")
            assert (await client.closed())[0] == 4500
        error = client.frames[-1]
        assert (error["code"], error["fatal"]) == ("server_fault", True)
        assert "secret" not in client.raw[-1]
        reference = error["message"].split()[-1]
        assert reference in capsys.readouterr().out
        await other.count("message", content="x")
        assert (await other.receive())["type"] == "ack"


async def test_the_server_closing_under_us_ends_the_connection(gates: Gates) -> None:
    gate = await gates.open(idle_timeout=0.2)  # a ping after 0.1 s, and 0.1 s for its pong
    client = await gate.join()
    client._socket.transport.pause_reading()
    await until(lambda: gate.endpoint.connections == 0, "the connection has ended")
    client._socket.transport.resume_reading()
    with pytest.raises(ConnectionClosed):
        await client.receive()


async def test_pongs_are_heard_while_frames_wait_for_the_store(gates: Gates) -> None:
    gate = await gates.open(idle_timeout=0.2)
    async with await gate.join() as client:
        gate.store.hold("accept")
        for _ in range(20):
            await client.count("message", content="x")
        await asyncio.sleep(0.6)
        gate.store.free()
        for _ in range(20):
            assert (await client.receive())["type"] == "ack"
