"""The rows of the table of where `run_sync` is called from: those in other threads.

A test here that hangs is a deadlock: the time-out is the watchdog.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import traceback

import pytest

from app.executor import BoundedExecutor, make_async, run_sync
from tests.executor.gate import Gate, after, deep, in_own_thread, place, turn, until

pytestmark = [pytest.mark.timeout(30), pytest.mark.usefixtures("worker")]


# ---- a thread of the executor


async def test_executor_thread() -> None:
    async def coroutine() -> tuple[str, asyncio.AbstractEventLoop]:
        before = place.get()
        await asyncio.sleep(0)
        place.set("coroutine")
        return before, asyncio.get_running_loop()

    def f() -> tuple[str, asyncio.AbstractEventLoop]:
        place.set("thread")
        result = run_sync(coroutine())
        assert place.get() == "coroutine"
        return result

    async def handler() -> None:
        place.set("turn")
        assert await make_async(f)() == ("thread", asyncio.get_running_loop())
        assert place.get() == "coroutine"

    await turn(handler())


async def test_executor_thread_gets_what_the_coroutine_raises() -> None:
    async def failing() -> str:
        raise LookupError("here")

    with pytest.raises(LookupError, match="here") as caught:
        await make_async(lambda: deep(2, failing()))()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names.index("deep") < names.index("failing")


async def test_synchronous_code_in_the_coroutine_of_an_executor_thread() -> None:
    async def coroutine() -> str:
        return deep(3, asyncio.sleep(0, "suspended"))

    assert await make_async(lambda: deep(2, coroutine()))() == "suspended"


async def test_executor_thread_is_cancelled_with_the_turn() -> None:
    seen: list[str] = []
    begun = asyncio.Event()
    over = threading.Event()

    async def never() -> str:
        begun.set()
        try:
            return await after(asyncio.Event(), "never")
        finally:
            seen.append("coroutine")

    def f() -> None:
        try:
            with pytest.raises(asyncio.CancelledError):
                deep(1, never())
            seen.append("current")
            with pytest.raises(asyncio.CancelledError):
                deep(1, never())
            seen.append("later")
        finally:
            over.set()

    async def handler() -> None:
        await make_async(f)()

    task = turn(handler())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(over.is_set)
    assert seen == ["coroutine", "current", "later"]


async def test_a_call_within_a_call_can_be_cancelled(worker: BoundedExecutor, gate: Gate) -> None:
    blocking = [asyncio.create_task(worker.run(gate, n)) for n in range(worker.threads - 1)]
    for _ in blocking:
        await gate.entered()
    inside = threading.Event()
    go_on = threading.Event()

    def inner() -> str:
        inside.set()
        assert go_on.wait(10)
        return "inner"

    async def impatient() -> str:
        task = asyncio.create_task(make_async(inner)())
        await until(inside.is_set)
        task.cancel()
        await asyncio.wait({task})
        assert worker.stats().abandoned == 1
        go_on.set()
        return "impatient"

    assert await turn(make_async(lambda: deep(1, impatient()))()) == "impatient"
    assert worker.stats().abandoned == 0


# ---- a thread of the author's own


async def test_own_thread() -> None:
    async def coroutine() -> tuple[str, asyncio.AbstractEventLoop]:
        deep(2, asyncio.sleep(0, ""))
        return place.get(), asyncio.get_running_loop()

    def f() -> object:
        place.set("own")
        return run_sync(coroutine())

    async def handler() -> list[object]:
        place.set("turn")
        context = contextvars.copy_context()
        return [await in_own_thread(f), await in_own_thread(lambda: context.run(run_sync, coroutine()))]

    loop = asyncio.get_running_loop()
    assert await turn(handler()) == [("own", loop), ("turn", loop)]


async def test_own_thread_is_not_cancelled_with_the_turn() -> None:
    event = asyncio.Event()
    results: list[str] = []

    async def handler() -> None:
        context = contextvars.copy_context()
        threading.Thread(target=lambda: results.append(context.run(deep, 1, after(event, "lives")))).start()
        await asyncio.Event().wait()

    task = turn(handler())
    await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.wait({task})
    event.set()
    await until(lambda: results == ["lives"])
