"""The store's contract on a real Valkey, script by script: who may write, what is refused, what is kept."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.errors import Fenced, NoSuchSession, NotYours, Regressed, SessionEnded, StoreFull, TooManySessions
from app.protocol.frames import START, Position
from app.settings import Settings
from app.store.base import Accepted, Batch, Claim, LogEntry, NewInput, Refused
from app.store.keys import partition
from app.store.redis import RedisStore
from tests.support.valkey import ValkeyProcess

CLIENT = "client-one"


class Employed:
    """Notes what the store hands to a runtime, and does nothing with it."""

    def __init__(self) -> None:
        self.claims: list[Claim] = []
        self.wakes: list[str] = []
        self.woken = asyncio.Event()

    def claimed(self, claim: Claim) -> None:
        self.claims.append(claim)

    def wake(self, session: str) -> None:
        self.wakes.append(session)
        self.woken.set()

    def look(self) -> None:
        """There is nothing to look at."""


class Heard:
    """A listener that notes what it is told."""

    def __init__(self) -> None:
        self.entries: list[LogEntry] = []
        self.looks = 0
        self.over = asyncio.Event()
        self.told = asyncio.Event()

    def deliver(self, entry: LogEntry) -> None:
        self.entries.append(entry)
        self.told.set()

    def look(self) -> None:
        self.looks += 1
        self.told.set()

    def ended(self) -> None:
        self.over.set()


@asynccontextmanager
async def store_of(valkey: ValkeyProcess, name: str = "w1", **settings: Any) -> AsyncIterator[RedisStore]:
    store = RedisStore(valkey.url, Settings(**settings), name)
    await store.start()
    try:
        yield store
    finally:
        await store.stop()


@pytest.fixture
async def store(shared_valkey: ValkeyProcess) -> AsyncIterator[RedisStore]:
    async with store_of(shared_valkey) as made:
        yield made


async def session_of(store: RedisStore, start: str = "") -> str:
    session = secrets.token_urlsafe(16)
    await store.create(session, "ann", "echo", start)
    return session


def message(n: int, body: bytes = b"{}", kind: str = "message") -> NewInput:
    turn = f"turn{n}" if kind == "message" else ""
    return NewInput(n, kind, body, f"{hash(body) & 0xFFFFFFFF:x}", turn)


def entry(claim: Claim, first: int, last: int | None = None, frame: bytes = b"{}") -> LogEntry:
    return LogEntry(first, last or first, claim.mark, frame)


async def claimed(store: RedisStore, session: str, **how: Any) -> Claim:
    claim = await store.claim(session, **how)
    assert claim is not None
    return claim


async def write(store: RedisStore, claim: Claim, count: int, at: int = 0) -> None:
    for seq in range(at + 1, at + count + 1):
        await store.append(claim, seq - 1, Batch(id=f"b{claim.mark}{seq}", entries=[entry(claim, seq)]))


async def test_an_input_is_kept_numbered_and_handed_to_its_owner(store: RedisStore) -> None:
    work = Employed()
    store.employ(work)
    session = await session_of(store)
    assert await store.accept(session, CLIENT, message(1, b"hello")) == Accepted(1, "turn1", 0, duplicate=False)
    assert await store.accept(session, CLIENT, message(2)) == Accepted(2, "turn2", 1, duplicate=False)
    (claim,) = work.claims
    assert (claim.user, claim.agent, claim.head, claim.run) == ("ann", "echo", START, "")
    assert [(i.index, i.kind, i.body, i.turn) for i in claim.inputs] == [(1, "message", b"hello", "turn1")]
    assert work.wakes == [session]
    assert [i.index for i in await store.inbox(session)] == [1, 2]


async def test_repeated_conflicting_and_skipped_numbers(store: RedisStore) -> None:
    session = await session_of(store)
    await store.accept(session, CLIENT, message(1, b"one"))
    await store.accept(session, CLIENT, message(2, b"two"))
    assert await store.accept(session, CLIENT, message(1, b"one")) == Accepted(1, "turn1", 0, duplicate=True)
    assert await store.accept(session, CLIENT, message(1, b"other")) == Refused("conflict")
    assert await store.accept(session, CLIENT, message(4)) == Refused("gap", expected=3)
    assert await store.accept(session, "client-two", message(2)) == Refused("gap", expected=1)
    assert len(await store.inbox(session)) == 2


async def test_a_full_inbox_refuses_messages_but_not_cancels(shared_valkey: ValkeyProcess) -> None:
    async with store_of(shared_valkey, inbox_size=2, inbox_bytes=1024) as store:
        session = await session_of(store)
        for n in (1, 2):
            await store.accept(session, CLIENT, message(n))
        assert await store.accept(session, CLIENT, message(3)) == Refused("busy", limit="size")
        accepted = await store.accept(session, CLIENT, NewInput(3, "cancel", b"{}", "a", "", ""))
        assert isinstance(accepted, Accepted)
        assert (await store.inbox(session))[2].target == "turn1"
        other = await session_of(store)
        assert await store.accept(other, CLIENT, message(1, b"x" * 1025)) == Refused("busy", limit="bytes")


async def test_controls_have_a_bound_of_their_own(store: RedisStore) -> None:
    session = await session_of(store)
    await store.accept(session, CLIENT, message(1))
    for n in range(2, 34):
        assert isinstance(await store.accept(session, CLIENT, NewInput(n, "cancel", b"{}", "a", "")), Accepted)
    refused = await store.accept(session, CLIENT, NewInput(34, "cancel", b"{}", "a", ""))
    assert refused == Refused("busy", limit="controls")


async def test_a_cancel_with_nothing_to_stop_is_acknowledged_and_not_kept(store: RedisStore) -> None:
    session = await session_of(store)
    accepted = await store.accept(session, CLIENT, NewInput(1, "cancel", b"{}", "a", ""))
    assert accepted == Accepted(None, None, 0, duplicate=False)
    again = await store.accept(session, CLIENT, NewInput(1, "cancel", b"{}", "a", ""))
    assert again == Accepted(None, None, 0, duplicate=True)
    await store.accept(session, CLIENT, message(2))
    await store.accept(session, CLIENT, NewInput(3, "cancel", b"{}", "a", "", "no-such-turn"))
    assert [i.kind for i in await store.inbox(session)] == ["message"]


async def test_clients_are_forgotten_least_recent_first(store: RedisStore) -> None:
    session = await session_of(store)
    for i in range(256):
        await store.accept(session, f"client{i:03}", NewInput(1, "cancel", b"{}", "a", ""))
    await store.accept(session, "client000", message(2))
    await store.accept(session, "client999", NewInput(1, "cancel", b"{}", "a", ""))
    names = [*(f"client{i:03}" for i in range(256)), "client999"]
    known = {name: (await store.attach(session, "ann", name, START)).known for name in names}
    assert list(known.values()).count(False) == 1
    assert known["client000"]
    assert known["client999"]


async def test_an_append_under_a_stale_mark_or_at_a_wrong_position_changes_nothing(store: RedisStore) -> None:
    session = await session_of(store)
    stale = await claimed(store, session)
    fresh = await claimed(store, session)
    with pytest.raises(Fenced):
        await store.append(stale, 0, Batch(id="a", entries=[entry(stale, 1)], state={"k": b"j1"}))
    with pytest.raises(Regressed):
        await store.append(fresh, 5, Batch(id="b", entries=[entry(fresh, 6)]))
    page = await store.read(session, START)
    assert (page.head, page.entries) == (START, [])
    assert (await claimed(store, session)).state == {}


async def test_the_same_append_again_is_the_same_append(store: RedisStore) -> None:
    session = await session_of(store)
    await store.accept(session, CLIENT, message(1))
    claim = await claimed(store, session)
    batch = Batch(id="b1", entries=[entry(claim, 1, 3)], done=[1], release=True)
    first = await store.append(claim, 0, batch)
    assert await store.append(claim, 0, batch) == first
    assert first.released
    assert (await store.read(session, START)).head == Position(3, claim.mark)
    with pytest.raises(Fenced):
        await store.append(claim, 3, Batch(id="b2", entries=[entry(claim, 4)]))


async def test_a_lease_is_given_up_only_with_an_empty_inbox(store: RedisStore) -> None:
    session = await session_of(store)
    await store.accept(session, CLIENT, message(1))
    await store.accept(session, CLIENT, message(2))
    claim = await claimed(store, session)
    assert not (await store.append(claim, 0, Batch(id="a", done=[1], release=True))).released
    assert (await store.append(claim, 0, Batch(id="b", done=[2], release=True))).released


async def test_the_last_event_the_inbox_and_the_state_are_one(store: RedisStore) -> None:
    session = await session_of(store)
    await store.accept(session, CLIENT, message(1))
    claim = await claimed(store, session)
    await store.append(claim, 0, Batch(id="a", entries=[entry(claim, 1)], started=("turn1", 1)))
    died = await claimed(store, session)
    assert (died.run, died.attempt, died.deaths, len(died.inputs)) == ("turn1", 1, 1, 1)
    ended = Batch(id="b", entries=[entry(died, 2)], finished=True, done=[1], state={"k": b"j1", "gone": None})
    await store.append(died, 1, ended)
    after = await claimed(store, session)
    assert (after.run, after.deaths, after.inputs, after.state) == ("", 0, [], {"k": b"j1"})


async def test_a_turn_that_ended_is_no_death_of_its_worker(store: RedisStore) -> None:
    session = await session_of(store)
    await store.accept(session, CLIENT, message(1))
    claim = await claimed(store, session)
    await store.append(claim, 0, Batch(id="a", entries=[entry(claim, 1)], started=("turn1", 1)))
    await store.append(claim, 1, Batch(id="b", entries=[entry(claim, 2)], finished=True, done=[1], release=True))
    after = await claimed(store, session)
    assert (after.run, after.deaths) == ("", 0)


async def test_one_attempt_is_one_death_however_often_its_session_is_taken(store: RedisStore) -> None:
    session = await session_of(store)
    await store.accept(session, CLIENT, message(1))
    claim = await claimed(store, session)
    await store.append(claim, 0, Batch(id="a", entries=[entry(claim, 1)], started=("turn1", 1)))
    assert [(await claimed(store, session)).deaths for _ in range(2)] == [1, 1]


async def test_a_handover_is_no_death(store: RedisStore) -> None:
    session = await session_of(store)
    await store.accept(session, CLIENT, message(1))
    claim = await claimed(store, session)
    await store.append(claim, 0, Batch(id="a", entries=[entry(claim, 1)], started=("turn1", 1), handover=True))
    after = await claimed(store, session)
    assert (after.run, after.attempt, after.deaths, after.previous) == ("turn1", 1, 0, claim.mark)


async def test_a_client_is_told_whether_the_log_joins_up_with_what_it_has(store: RedisStore) -> None:
    session = await session_of(store)
    claim = await claimed(store, session)
    await store.append(claim, 0, Batch(id="a", entries=[entry(claim, 1, 3, b"f1")]))
    second = await claimed(store, session)
    await store.append(second, 3, Batch(id="b", entries=[entry(second, 4, 4, b"f2")]))

    async def join(seq: int, mark: str) -> tuple[str, list[bytes]]:
        page = await store.read(session, Position(seq, mark))
        return page.join, [e.frame for e in page.entries]

    assert await join(0, "") == ("ok", [b"f1", b"f2"])
    assert await join(2, claim.mark) == ("ok", [b"f1", b"f2"])
    assert await join(3, claim.mark) == ("ok", [b"f2"])
    assert await join(4, second.mark) == ("ok", [])
    assert await join(5, second.mark) == ("ahead", [])
    assert await join(3, second.mark) == ("diverged", [])
    await store.compact(second, Position(3, claim.mark), b"folded")
    assert await join(3, claim.mark) == ("ok", [b"f2"])
    assert await join(3, second.mark) == ("diverged", [])
    assert await join(1, claim.mark) == ("trimmed", [])
    assert await store.snapshot(session) == (Position(3, claim.mark), b"folded")


async def test_a_long_log_comes_in_pages(store: RedisStore) -> None:
    session = await session_of(store)
    claim = await claimed(store, session)
    await write(store, claim, 300)
    seen: list[int] = []
    at = START
    while True:
        page = await store.read(session, at)
        if not page.entries:
            break
        assert len(page.entries) <= 128
        seen += [e.first for e in page.entries]
        at = Position(page.entries[-1].last, page.entries[-1].mark)
    assert seen == list(range(1, 301))


async def test_a_page_is_bounded_in_bytes(store: RedisStore) -> None:
    session = await session_of(store)
    claim = await claimed(store, session)
    for seq in range(1, 6):
        large = entry(claim, seq, frame=b"x" * 100_000)
        await store.append(claim, seq - 1, Batch(id=f"b{seq}", entries=[large]))
    assert [len((await store.read(session, Position(s, claim.mark if s else ""))).entries) for s in (0, 2, 4)] == [
        2,
        2,
        1,
    ]


async def test_listeners_of_every_worker_hear_of_an_append(shared_valkey: ValkeyProcess) -> None:
    async with store_of(shared_valkey, "w1") as owner, store_of(shared_valkey, "w2") as other:
        session = await session_of(owner)
        near, far = Heard(), Heard()
        for store, listener in ((owner, near), (other, far)):
            store.listen(session, listener)
            await store.attach(session, "ann", CLIENT, START)
        claim = await claimed(owner, session)
        added = entry(claim, 1, frame=b'{"a": "b c\\n"}')
        await owner.append(claim, 0, Batch(id="a", entries=[added]))
        await far.told.wait()
        assert near.entries == far.entries == [added]
        await owner.append(claim, 1, Batch(id="b", end=True))
        await far.over.wait()
        assert near.over.is_set()


async def test_the_owner_elsewhere_is_woken(shared_valkey: ValkeyProcess) -> None:
    async with store_of(shared_valkey, "w1") as owner, store_of(shared_valkey, "w2") as other:
        work = Employed()
        owner.employ(work)
        other.employ(Employed())
        session = await session_of(owner)
        await claimed(owner, session)
        await other.accept(session, CLIENT, message(1))
        await work.woken.wait()
        assert work.wakes == [session]


async def test_sessions_are_attached_to_by_their_user_only(store: RedisStore) -> None:
    session = await session_of(store)
    with pytest.raises(NotYours):
        await store.attach(session, "bob", CLIENT, START)
    with pytest.raises(NoSuchSession):
        await store.attach("no-such", "ann", CLIENT, START)
    with pytest.raises(NoSuchSession):
        await store.accept("no-such", CLIENT, message(1))


async def test_an_ended_session_takes_nothing_more(store: RedisStore) -> None:
    session = await session_of(store)
    claim = await claimed(store, session)
    await store.append(claim, 0, Batch(id="a", entries=[entry(claim, 1)], end=True))
    with pytest.raises(SessionEnded):
        await store.attach(session, "ann", CLIENT, START)
    with pytest.raises(SessionEnded):
        await store.accept(session, CLIENT, message(1))
    assert await store.claim(session) is None


async def test_a_user_has_only_so_many_sessions(shared_valkey: ValkeyProcess) -> None:
    async with store_of(shared_valkey, max_sessions_per_user=2) as store:
        first = await session_of(store)
        await session_of(store)
        with pytest.raises(TooManySessions):
            await session_of(store)
        claim = await claimed(store, first)
        await store.append(claim, 0, Batch(id="a", end=True))
        await session_of(store)


async def test_a_living_owner_keeps_its_session_and_a_dead_one_loses_it(shared_valkey: ValkeyProcess) -> None:
    async with store_of(shared_valkey, "w1", lease_ttl=0.2) as one, store_of(shared_valkey, "w2") as two:
        session = await session_of(one)
        await one.accept(session, CLIENT, message(1))
        claim = await claimed(one, session)
        assert await two.claim(session) is None
        assert (await claimed(two, session, dead="w1")).previous == claim.mark
        with pytest.raises(Fenced):
            await one.append(claim, 0, Batch(id="a"))
        other = await session_of(one)
        await claimed(one, other)
        while await two.claim(other) is None:
            await asyncio.sleep(0.02)


async def test_a_scan_finds_what_nobody_runs(shared_valkey: ValkeyProcess) -> None:
    async with store_of(shared_valkey, "w1") as one, store_of(shared_valkey, "w2") as two:
        session = await session_of(one)
        number = partition(session)
        assert (await two.scan(number, ())).sessions == []
        await one.accept(session, CLIENT, message(1))  # nobody is employed, so nobody takes it
        assert (await two.scan(number, ())).sessions == [session]
        await claimed(one, session)
        scan = await two.scan(number, ())
        assert scan.sessions == []
        assert 0 < scan.workers["w1"] <= 6000
        assert (await two.scan(number, ["w1"])).sessions == [session]


async def test_a_session_nobody_uses_expires_and_an_attached_one_does_not(shared_valkey: ValkeyProcess) -> None:
    async with store_of(shared_valkey, empty_session_ttl=0.05) as store:
        left, attached = await session_of(store), await session_of(store)
        await store.attach(attached, "ann", CLIENT, START)
        assert await store.claim(left, due=True) is None
        while (claim := await store.claim(left, due=True)) is None:
            await asyncio.sleep(0.02)
        assert claim.expired
        held = await claimed(store, attached, due=True)
        assert not held.expired
        await store.postpone(held, 60)
        assert await store.claim(attached, due=True) is None


async def test_calls_survive_lost_scripts_and_a_killed_store(valkey: ValkeyProcess) -> None:
    async with store_of(valkey) as store:
        session = await session_of(store)
        claim = await claimed(store, session)
        await write(store, claim, 3)
        with valkey.client() as client:
            client.script_flush()
        await write(store, claim, 3, at=3)
        valkey.kill()
        pending = asyncio.create_task(write(store, claim, 3, at=6))
        await asyncio.to_thread(valkey.start)
        await pending
        assert (await store.read(session, START)).head == Position(9, claim.mark)


async def test_concurrent_calls_share_a_pipeline_and_keep_their_order(store: RedisStore) -> None:
    session = await session_of(store)
    accepted = await asyncio.gather(*(store.accept(session, CLIENT, message(n)) for n in range(1, 51)))
    assert [a.index for a in accepted if isinstance(a, Accepted)] == list(range(1, 51))


async def test_a_store_without_memory_takes_no_input_but_lets_turns_end(valkey: ValkeyProcess) -> None:
    async with store_of(valkey) as store:
        session = await session_of(store)
        await store.accept(session, CLIENT, message(1))
        claim = await claimed(store, session)
        with valkey.client() as client:
            client.config_set("maxmemory", "1mb")
        with pytest.raises(StoreFull):
            await store.accept(session, CLIENT, message(2))
        done = await store.append(claim, 0, Batch(id="a", entries=[entry(claim, 1)], done=[1], release=True))
        assert done.released


async def test_readiness_tells_of_a_policy_that_drops_keys(valkey: ValkeyProcess) -> None:
    async with store_of(valkey) as store:
        assert await store.ready() == ""
        with valkey.client() as client:
            client.config_set("maxmemory-policy", "allkeys-lru")
        assert "noeviction" in await store.ready()
