"""The bound on threads holds under cancellation, and who comes past it waits or is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio
import anyio.to_thread
import pytest

from app.errors import ExecutorBusy
from tests.executor.conftest import MakeExecutor
from tests.executor.gate import Gate, until

pytestmark = pytest.mark.timeout(30)

SLOTS = 4
ROUNDS = 10
QUIET = 0.05
"""Seconds in which a thread that may start has started."""


async def check_bound(call: Callable[[Gate], Awaitable[object]], gate: Gate) -> None:
    """Ten rounds of starting as many calls as there are slots, and cancelling all."""
    for _ in range(ROUNDS):
        tasks = [asyncio.ensure_future(call(gate)) for _ in range(SLOTS)]
        await asyncio.sleep(QUIET)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert gate.inside == SLOTS
    assert gate.most == SLOTS


async def test_the_bound_holds_when_calls_are_cancelled(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(SLOTS)
    await check_bound(lambda function: executor.run(function, None), gate)
    assert executor.stats()[:4] == (SLOTS, SLOTS, 0, SLOTS)


async def test_a_plain_limiter_does_not_hold_it(gate: Gate) -> None:
    """The mutant: were the executor made like this, the test above would fail."""
    limiter = anyio.CapacityLimiter(SLOTS)

    async def call(function: Gate) -> None:
        await anyio.to_thread.run_sync(function, None, limiter=limiter, abandon_on_cancel=True)

    with pytest.raises(AssertionError):
        await check_bound(call, gate)
    assert gate.inside > SLOTS
    gate.open()
    await until(lambda: gate.inside == 0)


async def test_abandoned_calls_keep_their_slots(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(2, queue=1)
    abandoned = [asyncio.create_task(executor.run(gate, n)) for n in range(2)]
    for _ in abandoned:
        await gate.entered()
    for task in abandoned:
        task.cancel()
    queued = asyncio.create_task(executor.run(gate, "queued"))
    await until(lambda: executor.stats()[1:4] == (2, 1, 2))
    with pytest.raises(ExecutorBusy, match="all 2 threads are taken and 1 calls wait"):
        await executor.run(gate, "refused")
    assert executor.stats().rejected == 1
    gate.open()
    assert await queued == "queued"
    await until(lambda: executor.stats().abandoned == 0)


async def test_a_call_that_is_cancelled_in_the_queue_never_runs(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, queue=1)
    running = asyncio.create_task(executor.run(gate, "runs"))
    await gate.entered()
    ran: list[str] = []
    queued = asyncio.create_task(executor.run(ran.append, "no"))
    await until(lambda: executor.stats().queued == 1)
    queued.cancel()
    await asyncio.wait({queued})
    assert executor.stats()[:5] == (1, 1, 0, 0, 0)
    gate.open()
    assert await running == "runs"
    await executor.run(ran.append, "yes")
    assert ran == ["yes"]


async def test_threads_are_made_when_they_are_needed(make_executor: MakeExecutor) -> None:
    executor = make_executor(4)
    for _ in range(20):
        await executor.run(int)
    assert executor.stats() == (1, 0, 0, 0, 0)


# ---- with time to wait


async def test_a_call_waits_for_room(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, queue=1)
    calls = [asyncio.create_task(executor.run(gate, n, wait=30)) for n in range(4)]
    await until(lambda: executor.stats().queued == 3)
    gate.open()
    assert await asyncio.gather(*calls) == [0, 1, 2, 3]


async def test_a_call_waits_without_a_queue(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, queue=0)
    running = asyncio.create_task(executor.run(gate, 0))
    await gate.entered()
    with pytest.raises(ExecutorBusy):
        await executor.run(gate, 1)
    waiting = asyncio.create_task(executor.run(gate, 2, wait=30))
    await until(lambda: executor.stats().queued == 1)
    gate.open()
    assert [await running, await waiting] == [0, 2]


async def test_a_call_that_has_waited_long_enough_is_refused(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, queue=0)
    running = asyncio.create_task(executor.run(gate, 0))
    await gate.entered()
    with pytest.raises(ExecutorBusy):
        await executor.run(gate, 1, wait=0.02)
    assert executor.stats()[1:] == (1, 0, 0, 1)
    gate.open()
    assert await running == 0


async def test_a_call_that_got_room_in_time_is_not_refused(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, queue=1)
    first = asyncio.create_task(executor.run(gate, 0))
    await gate.entered()
    leaves = asyncio.create_task(executor.run(gate, 1))
    stays = asyncio.create_task(executor.run(gate, 2, wait=0.05))
    await until(lambda: executor.stats().queued == 2)
    leaves.cancel()
    await asyncio.wait({stays}, timeout=0.2)
    assert not stays.done()
    gate.open()
    assert [await first, await stays] == [0, 2]


async def test_a_call_that_waits_can_be_cancelled(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, queue=0)
    running = asyncio.create_task(executor.run(gate, 0))
    await gate.entered()
    waiting = asyncio.create_task(executor.run(gate, 1, wait=30))
    await until(lambda: executor.stats().queued == 1)
    waiting.cancel()
    await asyncio.wait({waiting})
    assert executor.stats() == (1, 1, 0, 0, 0)
    gate.open()
    assert await running == 0


# ---- shutting down


async def test_shutdown_refuses_what_is_queued_and_lets_finish_what_runs(
    make_executor: MakeExecutor, gate: Gate
) -> None:
    executor = make_executor(1, queue=1)
    running = asyncio.create_task(executor.run(gate, 0))
    await gate.entered()
    queued = asyncio.create_task(executor.run(gate, 1))
    waiting = asyncio.create_task(executor.run(gate, 2, wait=30))
    await until(lambda: executor.stats().queued == 2)
    assert not executor.shutdown()
    for refused in (queued, waiting, executor.run(gate, 3)):
        with pytest.raises(ExecutorBusy, match="shutting down"):
            await refused
    gate.open()
    assert await running == 0
    assert await asyncio.to_thread(executor.shutdown, 10)


async def test_idle_threads_end_at_shutdown(make_executor: MakeExecutor) -> None:
    executor = make_executor(2)
    await executor.run(int)
    assert executor.shutdown(10)
