"""A blocking generator, streamed: in order, complete, bounded, closed."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, Iterator
from typing import TypeVar

import pytest
import structlog

from app.errors import ExecutorBusy
from app.executor import BoundedExecutor, drive, install, make_async, run_sync
from app.executor.stream import READ_AHEAD
from tests.executor.conftest import MakeExecutor
from tests.executor.gate import Gate, deep, place, turn, until

pytestmark = pytest.mark.timeout(30)

with_worker = pytest.mark.usefixtures("worker")

T = TypeVar("T")


class Source:
    """A generator function that counts what it has made, and tells when it is closed."""

    def __init__(self, items: int = 1_000_000) -> None:
        self.items = items
        self.made = 0
        self.closed = threading.Event()
        self.closed_in = ""
        self.stream = make_async(self.read)

    def read(self) -> Iterator[int]:
        try:
            for n in range(self.items):
                self.made = n + 1
                yield n
        finally:
            self.closed_in = threading.current_thread().name
            self.closed.set()

    async def is_closed(self) -> bool:
        await until(self.closed.is_set)
        return self.closed_in.startswith("parley-executor-")


async def collect(stream: AsyncGenerator[T, None]) -> list[T]:
    return [item async for item in stream]


# ---- in order, complete, bounded


@with_worker
async def test_fifty_sessions_stream_a_thousand_tokens() -> None:
    most_ahead = 0

    async def handler() -> list[int]:
        nonlocal most_ahead
        source = Source(1_000)
        tokens = []
        async for token in source.stream():
            tokens.append(token)
            most_ahead = max(most_ahead, source.made - len(tokens))
            if token % 100 == 0:
                await asyncio.sleep(0)
        assert await source.is_closed()
        return tokens

    for tokens in await asyncio.gather(*(turn(handler()) for _ in range(50))):
        assert tokens == list(range(1_000))
    assert 0 < most_ahead <= READ_AHEAD


async def test_a_consumer_that_is_slow_holds_no_thread(make_executor: MakeExecutor) -> None:
    executor = make_executor(1)
    install(executor, asyncio.get_running_loop())
    slow = Source()
    stream = slow.stream()
    assert await anext(stream) == 0
    await until(lambda: executor.stats().running == 0)
    assert slow.made <= READ_AHEAD + 1
    assert await collect(Source(100).stream()) == list(range(100))
    assert await anext(stream) == 1
    await stream.aclose()


async def test_a_stream_that_never_ends_leaves_room_for_others(make_executor: MakeExecutor) -> None:
    """One thread, an endless stream, and a consumer that keeps up: the stream gives way."""
    install(make_executor(1), asyncio.get_running_loop())
    pause = threading.Event()

    def endless() -> Iterator[int]:
        while True:
            pause.wait(0.002)
            yield 0

    async def consume() -> None:
        async for _ in make_async(endless)():
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.05)
    for _ in range(3):
        assert await make_async(int)("7") == 7
    assert not task.done()
    task.cancel()
    await asyncio.wait({task})


@with_worker
async def test_an_item_is_there_as_soon_as_it_is_made() -> None:
    go_on = threading.Event()

    def two() -> Iterator[str]:
        yield "first"
        assert go_on.wait(10)
        yield "second"

    stream = make_async(two)()
    assert await anext(stream) == "first"
    go_on.set()
    assert await anext(stream) == "second"
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


@with_worker
async def test_an_empty_stream() -> None:
    assert await collect(Source(0).stream()) == []


@pytest.mark.parametrize("length", [READ_AHEAD // 2, READ_AHEAD - 1, READ_AHEAD, READ_AHEAD + 1, 2 * READ_AHEAD])
@with_worker
async def test_lengths_about_the_bound(length: int) -> None:
    assert await collect(Source(length).stream()) == list(range(length))


# ---- what runs in it


@with_worker
async def test_an_error_comes_after_the_items_before_it() -> None:
    def failing() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("here")

    items = []
    with pytest.raises(LookupError, match="here"):
        async for item in make_async(failing)():
            items.append(item)  # noqa: PERF401  # what came before the error
    assert items == [1, 2]


async def test_all_steps_have_one_context(worker: BoundedExecutor) -> None:
    def steps() -> Iterator[str]:
        yield place.get()
        place.set("generator")
        for _ in range(3 * READ_AHEAD):
            yield place.get()

    place.set("caller")
    stream = make_async(steps)()
    assert await anext(stream) == "caller"
    await until(lambda: worker.stats().running == 0)  # so that the rest is read by other calls
    assert await collect(stream) == ["generator"] * 3 * READ_AHEAD
    assert place.get() == "caller"


@with_worker
async def test_run_sync_in_a_generator() -> None:
    def steps() -> Iterator[str]:
        for n in range(3):
            yield deep(1, asyncio.sleep(0, str(n)))

    assert await collect(make_async(steps)()) == ["0", "1", "2"]


@with_worker
async def test_a_stream_in_synchronous_code_of_a_handler() -> None:
    async def handler() -> list[int]:
        return run_sync(collect(Source(100).stream()))

    assert await drive(handler()) == list(range(100))


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
