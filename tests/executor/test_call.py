"""What goes into a call and what comes out of it: context variables, results, errors."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import gc
import threading
import traceback
import weakref
from collections.abc import Iterator

import pytest

from app.executor import BoundedExecutor, make_async
from app.executor.call import Call
from tests.executor.gate import Gate, place, until

pytestmark = [pytest.mark.timeout(30), pytest.mark.usefixtures("worker")]


class Thing:
    """Something that can be seen to be gone."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only what nothing refers to goes away."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# ---- context variables


async def test_context_variables_flow_in_and_back() -> None:
    def f() -> str:
        before = place.get()
        place.set("thread")
        return before

    place.set("caller")
    assert await make_async(f)() == "caller"
    assert place.get() == "thread"


async def test_they_flow_back_from_a_call_that_raises() -> None:
    def f() -> None:
        place.set("thread")
        raise LookupError

    with pytest.raises(LookupError):
        await make_async(f)()
    assert place.get() == "thread"


async def test_they_do_not_flow_back_from_an_abandoned_call(gate: Gate) -> None:
    def f() -> None:
        place.set("thread")
        gate(None)

    async def caller() -> str:
        with pytest.raises(asyncio.CancelledError):
            await make_async(f)()
        return place.get()

    task = asyncio.create_task(caller())
    await gate.entered()
    task.cancel()
    assert await task == "nowhere"


async def test_calls_do_not_see_each_other(gate: Gate) -> None:
    def f(name: str) -> str:
        place.set(name)
        gate(name)
        return place.get()

    async def caller(name: str) -> tuple[str, str]:
        return await make_async(f)(name), place.get()

    tasks = [asyncio.create_task(caller(name)) for name in "ab"]
    await gate.entered()
    await gate.entered()
    gate.open()
    assert await asyncio.gather(*tasks) == [("a", "a"), ("b", "b")]
    assert place.get() == "nowhere"


async def test_only_what_was_changed_flows_back() -> None:
    """A value of the caller's that changed meanwhile, through a shared context, is not set back."""
    context = contextvars.copy_context()
    inside = threading.Event()
    go_on = threading.Event()

    def f() -> None:
        inside.set()
        assert go_on.wait(10)

    async def caller() -> str:
        await make_async(f)()
        return place.get()

    async def other() -> None:
        place.set("other")

    task = asyncio.create_task(caller(), context=context)
    await until(inside.is_set)
    await asyncio.create_task(other(), context=context)
    go_on.set()
    assert await task == "other"


# ---- results and errors


async def test_arguments_and_result(worker: BoundedExecutor) -> None:
    def f(a: int, /, b: int, *, key: str, wait: float) -> tuple[int, int, str, float]:
        return a, b, key, wait

    assert await make_async(f)(1, b=2, key="k", wait=3.0) == (1, 2, "k", 3.0)
    assert await worker.run(divmod, 7, 3) == (2, 1)


async def test_it_runs_in_a_thread() -> None:
    thread = await make_async(threading.current_thread)()
    assert thread.name == "parley-executor-0"
    assert thread.daemon


async def test_an_error_keeps_its_traceback() -> None:
    def inner() -> None:
        raise LookupError("here")

    def outer() -> None:
        inner()

    with pytest.raises(LookupError, match="here") as caught:
        await make_async(outer)()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["outer", "inner"]
    assert test_an_error_keeps_its_traceback.__name__ in names


async def test_stop_iteration_does_not_hang_the_caller() -> None:
    def f() -> int:
        return next(iter(list[int]()))

    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        await make_async(f)()
    assert isinstance(caught.value.__cause__, StopIteration)


async def test_a_call_that_is_abandoned_before_its_thread_begins_does_not_run() -> None:
    ran: list[str] = []
    call = Call(lambda: ran.append("work"), None, "", asyncio.get_running_loop(), contextvars.copy_context())
    call.abandoned = True
    call.perform()
    assert ran == []


async def test_what_is_no_exception_reaches_the_caller(worker: BoundedExecutor) -> None:
    def f() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await make_async(f)()
    assert worker.stats().running == 0


@pytest.mark.usefixtures("no_collector")
async def test_a_result_is_not_kept() -> None:
    thing = await make_async(Thing)()
    gone = weakref.ref(thing)
    del thing
    await until(lambda: gone() is None)


@pytest.mark.usefixtures("no_collector")
async def test_an_errors_frames_are_not_kept() -> None:
    refs: list[weakref.ref[Thing]] = []

    def f() -> None:
        thing = Thing()
        refs.append(weakref.ref(thing))
        raise LookupError

    async def caller() -> None:
        with contextlib.suppress(LookupError):
            await make_async(f)()

    await caller()
    await until(lambda: refs[0]() is None)


# ---- what make_async takes


async def test_partials_methods_and_builtins() -> None:
    assert await make_async(functools.partial(int, base=2))("101") == 5
    assert await make_async("a,b".split)(",") == ["a", "b"]
    assert await make_async(max)(1, 2) == 2
