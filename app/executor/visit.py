"""Running a coroutine on a loop while a thread waits for it."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar

from app.executor.call import Call, Worker
from app.executor.context import adopt
from app.executor.driver import driven_task, mark_driven
from app.executor.pool import helper

T = TypeVar("T")

LOOK_AFTER = 1.0
"""Seconds between a waiting thread's looks at whether its loop is still there."""


def visit(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on another thread's loop, with this thread's context variables, and wait for it.

    What it sets comes back. In a thread of the executor it belongs to the call that the thread performs: it is
    cancelled when that is abandoned, and an executor call that it makes and that finds no free thread is performed
    in this one, which has nothing to do and would otherwise keep the call waiting for itself.
    Raises: CancelledError; RuntimeError if the loop is closed; and what the coroutine raises.
    """
    thread = threading.current_thread()
    stay = _Stay(loop, coroutine, thread if isinstance(thread, Worker) else None)
    before = stay.context.copy()
    try:
        return stay.wait()
    finally:
        adopt(stay.context, before)


class _Stay(Generic[T]):
    """A thread's wait for a coroutine, and the coroutine's task."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], worker: Worker | None
    ) -> None:
        self.context = copy_context()
        self.context.run(mark_driven)
        self._loop = loop
        self._coroutine = coroutine
        self._task: asyncio.Task[T] | None = None
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        """What this thread is to do meanwhile; None at the end."""
        self._call = worker.call if worker is not None else None
        if worker is not None:
            self.context.run(helper.set, partial(self._offer, worker))

    def wait(self) -> T:
        """In the thread: wait until the coroutine has ended. Once only."""
        try:
            self._loop.call_soon_threadsafe(self._begin)
            while (job := self._next()) is not None:
                job()
        except RuntimeError:  # the loop is closed
            if self._task is None:
                self._coroutine.close()
            raise
        if self._task is None:
            raise asyncio.CancelledError
        return self._task.result()

    def _next(self) -> Callable[[], None] | None:
        while True:
            try:
                return self._inbox.get(timeout=LOOK_AFTER)
            except queue.Empty:
                if self._loop.is_closed():
                    raise RuntimeError("the event loop was closed while a thread waited for it in run_sync()") from None

    # ---- on the loop

    def _begin(self) -> None:
        if self._call is not None and self._call.abandoned:
            self._coroutine.close()
            self._inbox.put(None)
            return
        self._task = driven_task(self._loop, self._coroutine, self.context)
        self._task.add_done_callback(self._end)
        if self._call is not None:
            self._call.on_abandon = self._task.cancel

    def _end(self, _task: asyncio.Task[T]) -> None:
        if self._call is not None:
            self._call.on_abandon = None
        self._inbox.put(None)

    def _offer(self, worker: Worker, call: Call[Any]) -> None:
        if self._task is not None and not self._task.done():
            self._inbox.put(partial(worker.help, call))
