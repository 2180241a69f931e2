"""A blocking generator, streamed: it is closed, however the stream ends."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import TypeVar

import pytest
import structlog

from app.errors import ExecutorBusy
from app.executor import BoundedExecutor, install, make_async
from app.executor.stream import READ_AHEAD
from tests.executor.conftest import MakeExecutor
from tests.executor.gate import Gate, Source, collect, turn, until

pytestmark = pytest.mark.timeout(30)

with_worker = pytest.mark.usefixtures("worker")

T = TypeVar("T")


# ---- closed, however it ends


async def consume(source: Source, at_first: asyncio.Event, then: asyncio.Event) -> None:
    async for _ in source.stream():
        at_first.set()
        await then.wait()


@with_worker
async def test_a_turn_that_is_cancelled_in_the_body_closes_it() -> None:
    source, begun = Source(), asyncio.Event()
    task = turn(consume(source, begun, asyncio.Event()))
    await begun.wait()
    task.cancel()
    await asyncio.wait({task})
    assert await source.is_closed()


async def test_a_turn_that_is_cancelled_while_it_waits_closes_it(worker: BoundedExecutor, gate: Gate) -> None:
    closed = threading.Event()

    def blocking() -> Iterator[int]:
        try:
            yield 0
            gate(None)
            yield 1
        finally:
            closed.set()

    async def handler() -> None:
        async for _ in make_async(blocking)():
            pass

    task = turn(handler())
    await gate.entered()
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()
    assert worker.stats().abandoned == 1
    gate.open()
    await until(closed.is_set)
    await until(lambda: worker.stats().abandoned == 0)


async def test_a_turn_that_is_cancelled_in_the_queue_closes_it(make_executor: MakeExecutor, gate: Gate) -> None:
    """Cancelled when the generator has begun, but waits for a thread to go on."""
    executor = make_executor(1)
    install(executor, asyncio.get_running_loop())
    source, begun, then = Source(), asyncio.Event(), asyncio.Event()
    task = turn(consume(source, begun, then))
    await begun.wait()
    await until(lambda: executor.stats().running == 0)
    blocking = asyncio.create_task(executor.run(gate, None))
    await gate.entered()
    then.set()
    await until(lambda: executor.stats().queued == 1)
    task.cancel()
    await asyncio.wait({task})
    assert not source.closed.is_set()
    gate.open()
    await blocking
    assert await source.is_closed()


async def test_a_queue_that_is_full_does_not_end_a_stream_that_has_begun(
    make_executor: MakeExecutor, gate: Gate
) -> None:
    executor = make_executor(1, queue=0)
    install(executor, asyncio.get_running_loop())
    source = Source(3 * READ_AHEAD)
    stream = source.stream()
    assert await anext(stream) == 0
    await until(lambda: executor.stats().running == 0)
    blocking = asyncio.create_task(executor.run(gate, None))
    await gate.entered()
    rest = asyncio.create_task(collect(stream))
    await until(lambda: executor.stats().queued == 1)
    gate.open()
    await blocking
    assert await rest == list(range(1, 3 * READ_AHEAD))


async def test_a_stream_is_refused_at_its_first_item(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, queue=0)
    install(executor, asyncio.get_running_loop())
    blocking = asyncio.create_task(executor.run(gate, None))
    await gate.entered()
    source = Source()
    with pytest.raises(ExecutorBusy):
        await anext(source.stream())
    with pytest.raises(ExecutorBusy):
        await anext(make_async(source.read, wait=0.01)())
    assert (source.made, executor.stats().rejected) == (0, 2)
    gate.open()
    await blocking


@with_worker
async def test_break_closes_it() -> None:
    source = Source()
    async for item in source.stream():
        if item == 100:
            break
    assert await source.is_closed()


@with_worker
async def test_aclose_waits_until_it_is_closed() -> None:
    source = Source()
    async with contextlib.aclosing(source.stream()) as stream:
        assert await anext(stream) == 0
    assert source.closed.is_set()
    assert await source.is_closed()


async def test_aclose_can_be_cancelled(worker: BoundedExecutor, gate: Gate) -> None:
    closed = threading.Event()

    def blocking() -> Iterator[int]:
        try:
            yield 0
            gate(None)
            yield 1
        finally:
            closed.set()

    stream = make_async(blocking)()
    assert await anext(stream) == 0
    await gate.entered()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stream.aclose(), 0.01)
    assert worker.stats().abandoned == 1
    assert not closed.is_set()
    gate.open()
    await until(closed.is_set)


@with_worker
async def test_an_error_in_the_body_closes_it() -> None:
    source = Source()
    with pytest.raises(LookupError):
        async for _ in source.stream():
            raise LookupError
    assert await source.is_closed()


async def test_what_is_never_iterated_never_runs(worker: BoundedExecutor) -> None:
    source = Source()
    await source.stream().aclose()
    assert (source.made, source.closed.is_set(), worker.stats().threads) == (0, False, 0)


@with_worker
async def test_what_closing_raises_is_logged(gate: Gate) -> None:
    def bad() -> Iterator[int]:
        try:
            gate(None)
            yield 0
        finally:
            raise LookupError("in finally")

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(collect(make_async(bad)()))
        await gate.entered()
        task.cancel()
        await asyncio.wait({task})
        gate.open()
        await until(lambda: bool(logs))
    assert logs[0]["event"] == "executor_call_failed"
    assert logs[0]["function"].endswith("bad")


async def test_many_streams_cancelled_anywhere_are_all_closed(make_executor: MakeExecutor) -> None:
    executor = make_executor(2, queue=100)
    install(executor, asyncio.get_running_loop())
    sources = [Source() for _ in range(50)]
    tasks = [asyncio.create_task(collect(source.stream())) for source in sources]
    for n, task in enumerate(tasks):
        await asyncio.sleep(0.0005 * (n % 7))
        task.cancel()
    await asyncio.wait(tasks)
    for source in sources:
        if source.made:
            assert await source.is_closed()
    await until(lambda: executor.stats()[1:4] == (0, 0, 0))
