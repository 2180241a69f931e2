"""What a client that does everything right sees."""

from __future__ import annotations

from app.protocol.frames import START
from tests.gateway.conftest import Gates
from tests.gateway.gate import Gate, Owner, reach, saying
from tests.support.wire import assert_gapless, is_a, placed


async def test_welcome_names_a_new_session_and_its_limits(gate: Gate) -> None:
    client = await gate.connect()
    async with client:
        welcome = await client.hello(client="tab-one-1")
        assert welcome["agent"] == "echo"
        assert welcome["user"] == "anonymous"
        assert welcome["worker"] == gate.store.worker
        assert welcome["resumed"] is False
        assert welcome["head"] == {"seq": 0, "mark": ""}
        assert (welcome["acked"], welcome["known"]) == (0, False)
        assert welcome["limits"] == {"frame_bytes": 262_144, "inbox": 64}
        assert len(welcome["session"]) >= 22  # 128 bits in base64


async def test_three_messages_get_three_acks_and_wait_in_the_inbox(gate: Gate) -> None:
    async with await gate.join() as client:
        for text in ("one", "two", "three"):
            await client.count("message", content=text)
        acks = [await client.receive() for _ in range(3)]
        assert [(ack["n"], ack["index"], ack["queued"], ack["duplicate"]) for ack in acks] == [
            (1, 1, 0, False),
            (2, 2, 1, False),
            (3, 3, 2, False),
        ]
        inputs = await gate.store.inbox(client.welcome["session"])
        assert [i.turn for i in inputs] == [ack["turn"] for ack in acks]
        assert [i.body for i in inputs] == [
            b'{"content":"%s","type":"message"}' % text for text in (b"one", b"two", b"three")
        ]


async def test_live_entries_come_gapless_and_a_return_brings_what_came_after(gate: Gate) -> None:
    client = await gate.join()
    session = client.welcome["session"]
    owner = await Owner.of(gate.store, session)
    await owner.say("one")
    await owner.write(saying("a", "two"), saying("b", "three"))
    await reach(client, 9)
    assert_gapless(client.frames)
    since = client.since
    await client.drop()
    await owner.say("four")
    async with await gate.join(session=session, since=since) as again:
        assert again.welcome["resumed"] is True
        assert again.welcome["head"]["seq"] == 12
        await again.receive()
        assert assert_gapless(again.frames, after=9) == 12
        await owner.say("five")
        await again.receive()
        assert assert_gapless(again.frames, after=9) == 15


async def test_two_tabs_on_two_workers_get_the_same_bytes(gates: Gates) -> None:
    here, there = await gates.open(), await gates.open()
    one = await here.join()
    session = one.welcome["session"]
    owner = await Owner.of(here.store, session)
    await owner.say("before")
    two = await there.join(session=session)
    for text in ("after", "ünd ✓ at last"):
        await owner.say(text)
    for client in (one, two):
        await reach(client, 9)
    assert one.raw_events == two.raw_events
    assert [text.encode() for text in one.raw_events] == [
        entry.frame for entry in (await here.store.read(session, START)).entries
    ]
    await one.close()
    await two.close()


async def test_frames_behind_hello_need_not_wait_for_the_welcome(gate: Gate) -> None:
    async with await gate.connect() as client:
        await client.send("hello", client="impatient")
        await client.send("message", n=1, content="already")
        await client.send("ping", t="x")
        frames = [await client.receive() for _ in range(3)]
        assert [frame["type"] for frame in frames] == ["welcome", "ack", "pong"]
        assert frames[2]["t"] == "x"


async def test_an_entry_around_the_position_is_sent_whole(gate: Gate) -> None:
    async with await gate.join() as first:
        session = first.welcome["session"]
        owner = await Owner.of(gate.store, session)
        await owner.say("one")
        async with await gate.join(session=session, since={"seq": 2, "mark": owner.claim.mark}) as second:
            frame = await second.receive()
            assert (frame["seq"], len(frame["events"])) == (1, 3)


async def test_a_position_before_the_first_event_needs_no_mark(gate: Gate) -> None:
    async with await gate.join() as first:
        session = first.welcome["session"]
        await (await Owner.of(gate.store, session)).say("one")
        async with await gate.join(session=session, since={"seq": 0, "mark": "whatever"}) as second:
            assert [place.seq for place in placed([await second.receive()])] == [1, 2, 3]


async def test_a_long_log_is_replayed_and_goes_on_live(gates: Gates) -> None:
    # an outbox that is much smaller than the log: the replay has to wait for it
    gate = await gates.open(outbox_bytes=65_536)
    async with await gate.join() as first:
        session = first.welcome["session"]
        owner = await Owner.of(gate.store, session)
        for number in range(150):
            await owner.write(saying(f"m{number}", "x" * 10_000))
            await reach(first, owner.at)
        async with await gate.join(session=session) as second:
            await second.collect(lambda frame: is_a("events")(frame) and frame["seq"] > 200)
            await owner.say("live, during the replay")
            await reach(second, owner.at)
            assert_gapless(second.frames)
            await reach(first, owner.at)
            assert second.raw_events == first.raw_events


async def test_a_session_of_an_agent_with_a_start_begins_with_its_turn(gate: Gate) -> None:
    async with await gate.join(agent="greeter") as client:
        inputs = await gate.store.inbox(client.welcome["session"])
        assert [(i.kind, bool(i.turn)) for i in inputs] == [("start", True)]


async def test_the_subprotocol_is_answered_when_it_is_offered(gate: Gate) -> None:
    async with await gate.connect(subprotocol="parley.v1") as offering:
        assert offering._socket.subprotocol == "parley.v1"
    async with await gate.connect(subprotocol=None) as silent:
        await silent.hello()
        assert silent._socket.subprotocol is None


async def test_the_end_of_a_session_is_told_after_its_last_event(gates: Gates) -> None:
    here, there = await gates.open(), await gates.open()
    one = await here.join()
    session = one.welcome["session"]
    two = await there.join(session=session)
    owner = await Owner.of(here.store, session)
    await owner.say("last words", end=True)
    for client in (one, two):
        assert await client.closed() == (4410, "session ended")
        assert [frame["type"] for frame in client.frames[1:]] == ["events", "bye"]
        assert client.frames[-1] == {"type": "bye", "reason": "ended", "reconnect": False, "after_ms": 0}
