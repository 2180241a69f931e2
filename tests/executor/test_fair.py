"""Threads are shared out between sessions, not to who comes first."""

from __future__ import annotations

import asyncio
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.executor import BoundedExecutor, executor_key, install, make_async
from app.executor.fair import FairQueue
from tests.executor.conftest import MakeExecutor
from tests.executor.gate import Gate, turn, until

pytestmark = pytest.mark.timeout(30)

THREADS = 4


async def starts_before(executor: BoundedExecutor, key: str) -> int:
    """How many of session A's 500 queued 10 ms calls start before a single call of `key` that comes behind them."""
    started: list[str] = []

    def work(name: str) -> None:
        started.append(name)
        time.sleep(0.01)

    queued = [asyncio.create_task(executor.run(work, "A", key="A")) for _ in range(500)]
    await until(lambda: executor.stats().queued > 0)
    already = len(started)
    await executor.run(work, "B", key=key)
    for task in queued:
        task.cancel()
    await asyncio.wait(queued)
    return started.index("B") - already


async def test_a_single_call_starts_within_three_slots_time(make_executor: MakeExecutor) -> None:
    assert await starts_before(make_executor(THREADS), "B") <= 3 * THREADS


async def test_without_keys_it_waits_for_all(make_executor: MakeExecutor) -> None:
    """The mutant: first come, first served is what one key for all amounts to."""
    assert await starts_before(make_executor(THREADS), "A") > 400


async def test_calls_of_one_session_keep_their_order(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1)
    ran: list[tuple[str, int]] = []
    first = asyncio.create_task(executor.run(gate, None))
    await gate.entered()
    calls = [executor.run(ran.append, (key, n), key=key) for n in range(3) for key in "AAB"[: 3 - n]]
    tasks = [asyncio.create_task(call) for call in calls]
    await until(lambda: executor.stats().queued == len(tasks))
    gate.open()
    await asyncio.gather(first, *tasks)
    assert ran == [("A", 0), ("B", 0), ("A", 0), ("A", 1), ("A", 1), ("A", 2)]


async def test_the_key_is_the_turns(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1)
    install(executor, asyncio.get_running_loop())
    blocking = asyncio.create_task(executor.run(gate, None))
    await gate.entered()
    ran: list[str] = []

    async def handler(session: str) -> None:
        executor_key.set(session)
        await make_async(ran.append)(session)

    turns = [turn(handler(session)) for session in ("A", "A", "A", "B")]
    await until(lambda: executor.stats().queued == len(turns))
    gate.open()
    await asyncio.gather(blocking, *turns)
    assert ran == ["A", "B", "A", "A"]


class Item:
    def __init__(self, key: str) -> None:
        self.key = key


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from(["push", "pop", "remove"]))))
def test_the_queue_is_fair(steps: list[tuple[str, str]]) -> None:
    """Against a slow model: of the keys that have something, the one served (or come) longest ago is next."""
    queue = FairQueue[Item]()
    order: list[str] = []
    lines: dict[str, list[Item]] = {key: [] for key in "ABC"}
    for key, step in steps:
        line = lines[key]
        if step == "push":
            item = Item(key)
            queue.push(item)
            line.append(item)
            if key not in order:
                order.append(key)
        elif step == "remove":
            item = line.pop() if line else Item(key)
            assert queue.remove(item) == (item.key in order)
            assert not queue.remove(item)
        else:
            popped = queue.pop()
            assert popped is (lines[order[0]].pop(0) if order else None)
            order = order[1:] + order[:1]
        order = [key for key in order if lines[key]]
        assert len(queue) == sum(map(len, lines.values()))
    assert sorted(map(id, queue.drain())) == sorted(id(item) for line in lines.values() for item in line)
    assert len(queue) == 0
