"""A blocking generator, streamed: in order, complete, bounded."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import TypeVar

import pytest

from app.executor import BoundedExecutor, drive, install, make_async, run_sync
from app.executor.stream import READ_AHEAD
from tests.executor.conftest import MakeExecutor
from tests.executor.gate import Source, collect, deep, place, turn, until

pytestmark = pytest.mark.timeout(30)

with_worker = pytest.mark.usefixtures("worker")

T = TypeVar("T")


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
