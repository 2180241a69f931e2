"""Following a log through everything that does not join up."""

from __future__ import annotations

from typing import Any

import pytest

from app.errors import StoreUnavailable
from app.protocol.fold import Fold
from app.protocol.frames import START, Position
from app.store import keys
from app.store.base import Attachment, Page
from tests.gateway.conftest import Gates
from tests.gateway.gate import Gate, HeldStore, Owner, is_deaf, reach, saying
from tests.support.valkey import ValkeyProcess
from tests.support.wire import Frame, WireClient, assert_gapless, transcript


async def compact(store: HeldStore, owner: Owner, seen: WireClient, upto: int) -> None:
    """Fold what a client has seen up to the end of an entry, and trim the log there."""
    fold = Fold()
    for frame in seen.frames:
        if frame["type"] == "events" and frame["seq"] <= upto:
            fold.apply(frame)
    await store.compact(owner.claim, fold.position, fold.dump())


class Backup:
    """What the store had of a session, to be put back: a store that comes back without a tail."""

    def __init__(self, valkey: ValkeyProcess, session: str) -> None:
        self._valkey = valkey
        self._keys = [keys.meta(session).replace(":m:", f":{kind}:") for kind in "mie"]

    async def take(self) -> None:
        async with self._valkey.async_client() as redis:
            for key in self._keys:
                await redis.copy(key, f"{key}.kept")

    async def put_back(self) -> None:
        async with self._valkey.async_client() as redis:
            for key in self._keys:
                await redis.delete(key)
                await redis.copy(f"{key}.kept", key)


def resets(client: WireClient) -> list[Frame]:
    return [frame for frame in client.frames if frame["type"] == "reset"]


async def test_a_position_beyond_the_head_is_reset(gate: Gate) -> None:
    async with await gate.join() as first:
        session = first.welcome["session"]
        owner = await Owner.of(gate.store, session)
        await owner.say("one")
        await owner.say("two")
        async with await gate.join(session=session, since={"seq": 1_000_000, "mark": owner.claim.mark}) as client:
            reset = await client.receive()
            assert (reset["type"], reset["reason"]) == ("reset", "ahead")
            assert reset["head"] == {"seq": 6, "mark": owner.claim.mark}
            await owner.say("three")
            await reach(client, 9)
            assert transcript(client.frames) == [("assistant", text) for text in ("one", "two", "three")]
            assert len(resets(client)) == 1


async def test_a_position_under_another_mark_is_reset(gate: Gate) -> None:
    async with await gate.join() as first:
        session = first.welcome["session"]
        owner = await Owner.of(gate.store, session)
        await owner.say("one")
        async with await gate.join(session=session, since={"seq": 3, "mark": "another"}) as client:
            assert (await client.receive())["reason"] == "diverged"
            assert transcript(client.frames) == [("assistant", "one")]


async def test_a_position_below_the_floor_is_reset_by_snapshot_and_the_rest(gate: Gate) -> None:
    async with await gate.join() as first:
        session = first.welcome["session"]
        owner = await Owner.of(gate.store, session)
        for text in ("one", "two", "three"):
            await owner.say(text)
        await reach(first, 9)
        await compact(gate.store, owner, first, upto=6)
        async with await gate.join(session=session, since={"seq": 3, "mark": owner.claim.mark}) as client:
            reset = await client.receive()
            assert (reset["reason"], reset["head"]["seq"]) == ("trimmed", 9)
            await owner.say("four")
            await reach(client, 12)
            assert [text for _, text in transcript(client.frames)] == ["one", "two", "three", "four"]
        # exactly at the floor it joins up
        async with await gate.join(session=session, since={"seq": 6, "mark": owner.claim.mark}) as client:
            await reach(client, 12)
            assert_gapless(client.frames, after=6)
            assert resets(client) == []


async def test_a_log_trimmed_in_the_middle_of_a_replay_is_reset_once(gate: Gate) -> None:
    async with await gate.join() as first:
        session = first.welcome["session"]
        owner = await Owner.of(gate.store, session)
        for number in range(10):
            await owner.write(*(saying(f"m{number}-{i}", "text") for i in range(30)))
            await reach(first, owner.at)
        gate.store.hold("read")
        async with await gate.join(session=session) as client:
            await gate.store.waiting.wait()  # a page is sent, the next is wanted
            await compact(gate.store, owner, first, upto=600)
            gate.store.free()
            await owner.say("after")
            await reach(client, owner.at)
            assert_gapless(client.frames)
            assert [frame["reason"] for frame in resets(client)] == ["trimmed"]
            assert transcript(client.frames)[-1] == ("assistant", "after")


async def test_a_lost_notice_is_made_good_by_the_next_one(gates: Gates, shared_valkey: ValkeyProcess) -> None:
    gate, elsewhere = await gates.open(), await gates.store()
    async with await gate.join() as client:
        session = client.welcome["session"]
        owner = await Owner.of(elsewhere, session)
        await owner.say("one")
        await is_deaf(shared_valkey, session, gate.store.worker, deaf=True)
        await owner.say("two")
        await is_deaf(shared_valkey, session, gate.store.worker, deaf=False)
        await owner.say("three")
        await reach(client, 9)
        assert_gapless(client.frames)


async def test_a_lost_last_notice_is_made_good_by_the_sweep(gates: Gates, shared_valkey: ValkeyProcess) -> None:
    gate, elsewhere = await gates.open(sweep=0.1), await gates.store()
    async with await gate.join() as client:
        session = client.welcome["session"]
        owner = await Owner.of(elsewhere, session)
        await is_deaf(shared_valkey, session, gate.store.worker, deaf=True)
        await owner.say("one")
        await reach(client, 3)


async def test_nothing_is_lost_between_the_attachment_and_its_answer(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await gate.join() as first:
        session = first.welcome["session"]
        owner = await Owner.of(gate.store, session)
        attach = gate.store.attach

        async def slow(*args: Any) -> Attachment:
            attachment = await attach(*args)
            await owner.say("just now")
            return attachment

        monkeypatch.setattr(gate.store, "attach", slow)
        async with await gate.join(session=session) as second:
            assert second.welcome["head"]["seq"] == 0
            await reach(second, 3)


async def test_repeated_and_late_notices_change_nothing(gate: Gate) -> None:
    async with await gate.join() as client:
        session = client.welcome["session"]
        owner = await Owner.of(gate.store, session)
        await owner.say("one")
        await owner.say("two")
        for entry in (await gate.store.read(session, START)).entries:
            gate.store.listeners.deliver(session, entry)
            gate.store.listeners.deliver(session, entry._replace(mark="an older one"))
        await owner.say("three")
        await reach(client, 9)
        assert_gapless(client.frames)


@pytest.mark.parametrize(("written", "reason"), [(0, "ahead"), (1, "ahead"), (4, "diverged")])
async def test_a_store_that_lost_the_tail_resets_who_had_seen_it(
    gate: Gate, shared_valkey: ValkeyProcess, written: int, reason: str
) -> None:
    async with await gate.join() as client:
        session = client.welcome["session"]
        owner = await Owner.of(gate.store, session)
        backup = Backup(shared_valkey, session)
        await owner.say("one")
        await backup.take()
        await owner.say("two")
        await owner.say("three")
        await reach(client, 9)
        await backup.put_back()
        gate.store.hold("read")
        heir = await Owner.of(gate.store, session)
        assert heir.at == 3
        for number in range(written):
            await heir.say(f"anew {number}")
        if not written:
            gate.store.listeners.look(session)
        gate.store.free()
        while not resets(client):
            await client.receive()
        assert [frame["reason"] for frame in resets(client)] == [reason]
        await heir.say("and on")
        await reach(client, heir.at)
        assert_gapless(client.frames)
        expected = ["one", *(f"anew {number}" for number in range(written)), "and on"]
        assert [text for _, text in transcript(client.frames)] == expected


async def test_a_tail_that_was_lost_and_written_anew_unheard_is_seen_before_what_follows(
    gates: Gates, shared_valkey: ValkeyProcess
) -> None:
    gate, elsewhere = await gates.open(), await gates.store()
    async with await gate.join() as client:
        session = client.welcome["session"]
        owner = await Owner.of(elsewhere, session)
        backup = Backup(shared_valkey, session)
        await owner.say("one")
        await backup.take()
        await owner.say("two")
        await reach(client, 6)
        await backup.put_back()
        await is_deaf(shared_valkey, session, gate.store.worker, deaf=True)
        heir = await Owner.of(elsewhere, session)
        await heir.say("anew")
        gate.store.hold("after listen")
        gate.store.lose_sight()
        await gate.store.waiting.wait()  # told of entries again, and it does not know yet
        await heir.say("and on")
        await reach(client, 9)
        gate.store.free()
        assert [frame["reason"] for frame in resets(client)] == ["diverged"]
        assert [text for _, text in transcript(client.frames)] == ["one", "anew", "and on"]


class _Failing:
    """A read that fails some times before it works."""

    def __init__(self, store: HeldStore, left: int) -> None:
        self.left = left
        self._read = store.read

    async def read(self, session: str, since: Position) -> Page:
        if self.left:
            self.left -= 1
            raise StoreUnavailable("not now")
        return await self._read(session, since)


async def test_a_replay_waits_for_a_store_that_does_not_answer(gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = await gates.open()
    monkeypatch.setattr("app.gateway.follow.RETRY_SECONDS", 0.05)
    async with await gate.join() as client:
        session = client.welcome["session"]
        failing = _Failing(gate.store, 2)
        monkeypatch.setattr(gate.store, "read", failing.read)
        owner = await Owner.of(gate.store, session)
        gate.store.listeners.look(session)
        await owner.say("one")
        await reach(client, 3)
        assert failing.left == 0


async def test_a_follower_of_a_session_that_is_gone_is_told(gate: Gate, shared_valkey: ValkeyProcess) -> None:
    async with await gate.join() as client:
        async with shared_valkey.async_client() as redis:
            await redis.flushall()
        gate.store.listeners.look(client.welcome["session"])
        assert await client.closed() == (4404, "no such session or agent")
        assert client.frames[-1]["code"] == "no_such_session"


async def test_what_is_read_in_a_session_that_ended_is_its_end(gate: Gate) -> None:
    async with await gate.join() as client:
        owner = await Owner.of(gate.store, client.welcome["session"])
        gate.store.hold("read")
        gate.store.listeners.look(client.welcome["session"])
        await owner.say("bye", end=True)
        gate.store.free()
        assert (await client.closed())[0] == 4410
        assert client.frames[-1]["type"] == "bye"
