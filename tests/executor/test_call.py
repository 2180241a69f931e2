"""What goes into a call and what comes out of it: context, results, errors, logs, metrics."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import threading
import time
import traceback
import weakref
from collections.abc import Iterator

import pytest
import structlog
from prometheus_client.samples import Sample

from app import metrics
from app.errors import ExecutorBusy
from app.executor import BoundedExecutor, install, make_async, run_sync
from tests.executor.conftest import MakeExecutor
from tests.executor.gate import Gate, until

pytestmark = pytest.mark.timeout(30)

place = contextvars.ContextVar("place", default="nowhere")


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


async def test_context_variables_flow_in_and_back(worker: BoundedExecutor) -> None:
    def f() -> str:
        before = place.get()
        place.set("thread")
        return before

    place.set("caller")
    assert await make_async(f)() == "caller"
    assert place.get() == "thread"


async def test_they_flow_back_from_a_call_that_raises(worker: BoundedExecutor) -> None:
    def f() -> None:
        place.set("thread")
        raise LookupError

    with pytest.raises(LookupError):
        await make_async(f)()
    assert place.get() == "thread"


async def test_they_do_not_flow_back_from_an_abandoned_call(worker: BoundedExecutor, gate: Gate) -> None:
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


async def test_calls_do_not_see_each_other(worker: BoundedExecutor, gate: Gate) -> None:
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


async def test_only_what_was_changed_flows_back(worker: BoundedExecutor) -> None:
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


async def test_it_runs_in_a_thread(worker: BoundedExecutor) -> None:
    thread = await make_async(threading.current_thread)()
    assert thread.name == "parley-executor-0"
    assert thread.daemon


async def test_an_error_keeps_its_traceback(worker: BoundedExecutor) -> None:
    def inner() -> None:
        raise LookupError("here")

    def outer() -> None:
        inner()

    with pytest.raises(LookupError, match="here") as caught:
        await make_async(outer)()
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names[-2:] == ["outer", "inner"]
    assert test_an_error_keeps_its_traceback.__name__ in names


async def test_stop_iteration_does_not_hang_the_caller(worker: BoundedExecutor) -> None:
    with pytest.raises(RuntimeError, match="next raised StopIteration") as caught:
        await make_async(next)(iter(()))
    assert isinstance(caught.value.__cause__, StopIteration)


async def test_what_is_no_exception_reaches_the_caller(worker: BoundedExecutor) -> None:
    def f() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await make_async(f)()
    assert worker.stats().running == 0


@pytest.mark.usefixtures("no_collector")
async def test_a_result_is_not_kept(worker: BoundedExecutor) -> None:
    thing = await make_async(Thing)()
    gone = weakref.ref(thing)
    del thing
    await until(lambda: gone() is None)


@pytest.mark.usefixtures("no_collector")
async def test_an_errors_frames_are_not_kept(worker: BoundedExecutor) -> None:
    refs: list[weakref.ref[Thing]] = []

    def f() -> None:
        thing = Thing()
        refs.append(weakref.ref(thing))
        raise LookupError

    async def caller() -> None:
        try:
            await make_async(f)()
        except LookupError:
            pass

    await caller()
    await until(lambda: refs[0]() is None)


# ---- what make_async takes


def test_what_cannot_be_made_async() -> None:
    async def coroutine() -> None: ...

    with pytest.raises(TypeError, match="async already"):
        make_async(coroutine)
    with pytest.raises(TypeError, match="the function itself, uncalled"):
        make_async(7)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="0 or more"):
        make_async(time.sleep, wait=-1)


def test_it_keeps_the_functions_name() -> None:
    def f() -> None:
        """Does nothing."""

    assert (make_async(f).__name__, make_async(f).__doc__) == ("f", "Does nothing.")


async def test_partials_methods_and_builtins(worker: BoundedExecutor) -> None:
    assert await make_async(functools.partial(int, base=2))("101") == 5
    assert await make_async("a,b".split)(",") == ["a", "b"]
    assert await make_async(max)(1, 2) == 2


async def test_wait_is_passed_on(make_executor: MakeExecutor, gate: Gate) -> None:
    install(make_executor(1, queue=0), asyncio.get_running_loop())
    running = asyncio.create_task(make_async(gate)(None))
    await gate.entered()
    with pytest.raises(ExecutorBusy):
        await make_async(int)()
    waiting = asyncio.create_task(make_async(int, wait=30)())
    await asyncio.sleep(0)
    gate.open()
    assert (await running, await waiting) == (None, 0)


def test_before_any_worker_there_is_an_executor_too() -> None:
    async def main() -> int:
        return await make_async(lambda: run_sync(make_async(int)("7")))()

    assert asyncio.run(main()) == 7


# ---- installing


async def test_a_process_has_one_worker(worker: BoundedExecutor, make_executor: MakeExecutor) -> None:
    with pytest.raises(RuntimeError, match="uninstall"):
        install(make_executor(), asyncio.get_running_loop())


# ---- logs and metrics


async def test_an_abandoned_call_that_is_slow_is_logged(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, slow_after=0.02)

    def slow() -> None:
        gate(None)

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(executor.run(slow, key="session-7"))
        await gate.entered()
        task.cancel()
        await until(lambda: bool(logs))
    [entry] = logs
    assert entry["event"] == "executor_call_abandoned"
    assert entry["function"].endswith("slow")
    assert entry["key"] == "session-7"
    assert entry["seconds"] >= 0


async def test_an_abandoned_call_that_is_quick_is_not_logged(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, slow_after=0.1)
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(executor.run(gate, None))
        await gate.entered()
        task.cancel()
        gate.open()
        await until(lambda: executor.stats().abandoned == 0)
        await asyncio.sleep(0.15)
    assert logs == []


async def test_what_an_abandoned_call_raises_is_logged(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1)

    def failing() -> None:
        gate(None)
        raise LookupError("too late")

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(executor.run(failing))
        await gate.entered()
        task.cancel()
        gate.open()
        await until(lambda: bool(logs))
    assert logs[0]["event"] == "executor_call_failed"
    assert isinstance(logs[0]["exc_info"], LookupError)


def sample(name: str) -> float:
    samples: list[Sample] = [each for metric in metrics.REGISTRY.collect() for each in metric.samples]
    return next(each.value for each in samples if each.name == f"parley_executor_{name}")


async def test_metrics(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, queue=1)
    install(executor, asyncio.get_running_loop())
    names = ("abandons_total", "rejected_total", "wait_seconds_count", "run_seconds_count")
    before = [sample(name) for name in names]
    abandoned = asyncio.create_task(executor.run(gate, 0))
    await gate.entered()
    abandoned.cancel()
    queued = asyncio.create_task(executor.run(gate, 1))
    await until(lambda: executor.stats().queued == 1)
    with pytest.raises(ExecutorBusy):
        await executor.run(gate, 2)
    assert [sample(name) for name in ("running", "queued", "abandoned")] == [1, 1, 1]
    gate.open()
    await queued
    await until(
        lambda: [sample(name) for name in names] == [before[0] + 1, before[1] + 1, before[2] + 2, before[3] + 2]
    )
    assert [sample(name) for name in ("running", "queued", "abandoned")] == [0, 0, 0]


# ---- loops that go away


def test_a_result_for_a_loop_that_is_closed_is_dropped() -> None:
    executor = BoundedExecutor(1, 1, 60)
    release = threading.Event()
    inside = threading.Event()

    def f() -> None:
        inside.set()
        assert release.wait(10)

    async def main() -> None:
        task = asyncio.create_task(executor.run(f))
        await until(inside.is_set)
        task.cancel()

    asyncio.run(main())
    release.set()
    assert executor.shutdown(10)
