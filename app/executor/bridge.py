"""The two functions authors use, and the executor and loop of this process that they use in turn."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextvars import copy_context
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar, overload

from app import metrics
from app.executor.call import Worker
from app.executor.context import adopt
from app.executor.driver import driving, mark_driven, suspend
from app.executor.pool import BoundedExecutor
from app.executor.stream import stream
from app.executor.visit import visit
from app.settings import Settings

P = ParamSpec("P")
T = TypeVar("T")


@overload
def make_async(  # type: ignore[overload-overlap]  # a function that returns an iterator is taken for a generator
    f: Callable[P, Iterator[T]], *, wait: float | None = None
) -> Callable[P, AsyncGenerator[T, None]]: ...


@overload
def make_async(
    f: Callable[P, T], *, wait: float | None = None, process: bool = False
) -> Callable[P, Coroutine[Any, Any, T]]: ...


def make_async(f: Callable[P, Any], *, wait: float | None = None, process: bool = False) -> Callable[P, Any]:
    """An async function that calls a blocking one in a thread of the executor; an async generator of a generator.

    It sees the caller's context variables, and what it sets comes back. When all threads are taken and the queue is
    full, a call raises ExecutorBusy, at once or after `wait` seconds. A call that is cancelled is abandoned: its
    thread is taken until it returns. With `process` it runs in a child process, for work that keeps the processor
    busy; function, arguments and result are pickled then, and context variables stay behind.
    Raises: TypeError if there is nothing to make async; ValueError if `wait` is negative.
    """
    _check(f, wait, process=process)
    if inspect.isgeneratorfunction(f):

        @wraps(f)
        def read(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[Any, None]:
            return stream(_home.executor, f(*args, **kwargs), wait)

        return read
    work = _in_child(f) if process else f

    @wraps(f)
    async def call(*args: P.args, **kwargs: P.kwargs) -> Any:
        return await _home.executor.run(partial(work, *args, **kwargs), wait=wait)

    return call


def run_sync(awaitable: Awaitable[T]) -> T:
    """Wait for a coroutine in synchronous code, wherever that runs; returns or raises what comes of it.

    - In a turn, in its tasks too, the code is suspended and the loop goes on.
    - In a thread, also of your own, it runs on the worker's loop. In one of the executor it is part of the call, and
      cancelled when the call's turn is.
    - Where no loop runs that could be meant, it runs on a new one.

    It sees the context variables, and what it sets comes back. Raises: OutsideTurn, a RuntimeError, on a loop's thread
    outside a turn; TypeError if it is not given an awaitable; CancelledError.
    """
    coroutine = _as_coroutine(awaitable)
    if _loop_runs_here():
        return suspend(coroutine)
    loop = _loop_elsewhere()
    return _on_new_loop(coroutine) if loop is None else visit(loop, coroutine)


def install(executor: BoundedExecutor, loop: asyncio.AbstractEventLoop) -> None:
    """Make these the worker's executor and loop. Raises: RuntimeError if it has others, on a loop that is open."""
    _home.install(executor, loop)


def uninstall() -> None:
    """Take back what `install` did, if it did. On the loop's thread, or after its end."""
    _home.uninstall()


class _Home:
    """The worker's executor and loop; before there are any, and after, an executor made when it is needed."""

    def __init__(self) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        self._installed: BoundedExecutor | None = None
        self._factory: Any = None
        self._default: BoundedExecutor | None = None
        self._lock = threading.Lock()

    @property
    def executor(self) -> BoundedExecutor:
        return self._installed or self._default or self._make_default()

    def install(self, executor: BoundedExecutor, loop: asyncio.AbstractEventLoop) -> None:
        if self.loop is not None and not self.loop.is_closed():
            raise RuntimeError("this process has an executor and a loop already: uninstall() them first")
        self._installed, self.loop = executor, loop
        self._factory = loop.get_task_factory()
        loop.set_task_factory(driving(self._factory))
        metrics.EXECUTOR_RUNNING.set_function(lambda: executor.stats().running)
        metrics.EXECUTOR_QUEUED.set_function(lambda: executor.stats().queued)
        metrics.EXECUTOR_ABANDONED.set_function(lambda: executor.stats().abandoned)

    def uninstall(self) -> None:
        if self.loop is not None:
            self.loop.set_task_factory(self._factory)
        self._installed = self.loop = self._factory = None
        for gauge in (metrics.EXECUTOR_RUNNING, metrics.EXECUTOR_QUEUED, metrics.EXECUTOR_ABANDONED):
            gauge.set_function(lambda: 0)

    def _make_default(self) -> BoundedExecutor:
        with self._lock:
            if self._default is None:
                defaults = Settings.model_construct()
                self._default = BoundedExecutor(
                    defaults.executor_threads, defaults.executor_queue, defaults.executor_slow_after
                )
            return self._default


_home = _Home()


def _check(f: Callable[..., Any], wait: float | None, *, process: bool) -> None:
    if not callable(f):
        raise TypeError(f"make_async() needs a function, not {f!r}: give it the function itself, uncalled")
    if inspect.iscoroutinefunction(f) or inspect.isasyncgenfunction(f):
        raise TypeError(f"make_async() was given {f!r}, which is async already")
    if process and inspect.isgeneratorfunction(f):
        raise TypeError(f"make_async() was given {f!r}: a generator cannot run in a process")
    if wait is not None and not wait >= 0:
        raise ValueError(f"make_async(wait={wait}): wait is a number of seconds, 0 or more")


def _in_child(f: Callable[P, T]) -> Callable[P, T]:
    @wraps(f)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return _home.executor.children.call(f, *args, **kwargs)

    return call


def _as_coroutine(awaitable: Awaitable[T]) -> Coroutine[Any, Any, T]:
    if inspect.iscoroutine(awaitable):
        return awaitable
    if inspect.isawaitable(awaitable):
        return _wait_for(awaitable)
    raise TypeError(f"run_sync() needs a coroutine, or something else to await, not {awaitable!r}")


async def _wait_for(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _loop_elsewhere() -> asyncio.AbstractEventLoop | None:
    """The loop that a thread without one belongs to."""
    thread = threading.current_thread()
    if isinstance(thread, Worker) and thread.call is not None:
        return thread.call.loop
    loop = _home.loop
    if thread is threading.main_thread() or loop is None or not loop.is_running():
        return None
    return loop


def _on_new_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    context = copy_context()
    context.run(mark_driven)
    before = context.copy()
    try:
        with asyncio.Runner() as runner:
            runner.get_loop().set_task_factory(driving(None))
            return runner.run(coroutine, context=context)
    finally:
        adopt(context, before)
