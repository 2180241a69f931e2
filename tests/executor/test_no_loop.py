"""Where no worker's loop runs: scripts, module level, loops that are gone; and what is refused before any call."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import pytest

from app.executor import BoundedExecutor, install, make_async, run_sync, uninstall
from app.executor.visit import visit
from tests.executor.gate import deep, in_own_thread, place, until

pytestmark = pytest.mark.timeout(30)


def test_main_thread() -> None:
    async def coroutine() -> str:
        await asyncio.sleep(0)
        place.set("coroutine")
        return deep(3, nested())

    async def nested() -> str:
        return await asyncio.create_task(child())

    async def child() -> str:
        return deep(1, asyncio.sleep(0, "child"))

    def main() -> tuple[str, str]:
        return run_sync(coroutine()), place.get()

    assert contextvars.copy_context().run(main) == ("child", "coroutine")
    assert run_sync(asyncio.sleep(0, "again")) == "again"


def test_main_thread_beside_a_workers_loop() -> None:
    """A worker's loop in another thread is not the main thread's."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    install(BoundedExecutor(1, 1, 60), loop)
    try:
        assert run_sync(running_loop()) is not loop
    finally:
        uninstall()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def running_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_main_thread_at_module_level() -> None:
    script = "import asyncio\nfrom app import run_sync\nprint(run_sync(asyncio.sleep(0, 'at module level')))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("at module level\n", "")


async def test_own_thread_without_a_worker() -> None:
    async def coroutine() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert await in_own_thread(lambda: run_sync(coroutine())) is not asyncio.get_running_loop()


def test_a_thread_does_not_wait_for_a_loop_that_is_gone() -> None:
    loop = asyncio.new_event_loop()
    with pytest.raises(RuntimeError, match="closed"):
        run_in_thread_and_join(lambda: visit(loop, asyncio.sleep(0)), loop.close)
    with pytest.raises(RuntimeError, match="closed"):
        visit(loop, asyncio.sleep(0))


def run_in_thread_and_join(function: Callable[[], object], meanwhile: Callable[[], None]) -> None:
    errors: list[BaseException] = []

    def target() -> None:
        try:
            function()
        except RuntimeError as error:
            errors.append(error)

    thread = threading.Thread(target=target)
    thread.start()
    thread.join(0.05)
    meanwhile()
    thread.join()
    raise errors[0]


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


def test_before_any_worker_there_is_an_executor_too() -> None:
    async def main() -> int:
        return await make_async(lambda: run_sync(make_async(int)("7")))()

    assert asyncio.run(main()) == 7


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


def test_run_sync_wants_an_awaitable() -> None:
    with pytest.raises(TypeError, match="needs a coroutine"):
        run_sync(int)  # type: ignore[arg-type]
