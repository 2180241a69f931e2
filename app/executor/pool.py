"""The bounded executor: who gets a thread, who waits for one, who is refused."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import Callable
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any, NamedTuple, TypeVar, TypeVarTuple

from app import logs, metrics
from app.errors import ExecutorBusy
from app.executor.call import Call, Worker
from app.executor.children import Children
from app.executor.context import adopt
from app.executor.fair import FairQueue

log = logs.get(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

executor_key: ContextVar[str] = ContextVar("parley_executor_key", default="")
"""Whom calls are made for: the session of the turn. Threads are shared out fairly between keys."""

helper: ContextVar[Callable[[Call[Any]], None] | None] = ContextVar("parley_executor_helper", default=None)
"""Takes calls that code of this context waits for, and that have no thread: `run_sync` in a thread sets it."""


class Stats(NamedTuple):
    """How busy an executor is."""

    threads: int
    """Threads there are."""
    running: int
    """Threads at work, abandoned calls included."""
    queued: int
    """Calls that have no thread yet, those past the bound that wait included."""
    abandoned: int
    """Calls that were cancelled and still hold their thread."""
    rejected: int
    """Calls that were refused so far."""


class BoundedExecutor:
    """Calls functions in at most `threads` threads, made when needed; at most `queue` calls wait for one.

    A thread cannot be stopped from outside. So a call that is cancelled while it runs is *abandoned*: nobody waits
    for it, but it keeps its thread until it returns, and the bound holds. One that has run for `slow_after` seconds
    by then, or gets there later, is logged. A call that is cancelled in the queue never runs.
    """

    def __init__(self, threads: int, queue: int, slow_after: float) -> None:
        self.threads = threads
        self.queue = queue
        self.children = Children()
        """Processes for calls that are to run in one; each has a thread of this executor waiting for it."""
        self._slow_after = slow_after
        self._lock = threading.Lock()
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._queue: FairQueue[Call[Any]] = FairQueue()
        self._waiting: FairQueue[Call[Any]] = FairQueue()
        """What is past the queue's bound and was given time to wait."""
        self._abandoned = 0
        self._rejected = 0
        self._closed = False

    async def run(self, f: Callable[[*Ts], T], *args: *Ts, key: str | None = None, wait: float | None = None) -> T:
        """Call `f(*args)` in a thread, with the caller's context variables; what it sets comes back to the caller.

        `key` is whom the call is for, `executor_key` by default. Past both bounds a call waits for up to `wait`
        seconds, or is refused at once. Raises: ExecutorBusy; and what `f` raises, with its traceback.
        """
        before = copy_context()
        key = executor_key.get() if key is None else key
        call = self.submit(partial(f, *args), of=f, key=key, wait=wait)
        try:
            return await call.future
        finally:
            self.abandon(call)
            if not call.abandoned:
                adopt(call.context, before)

    def submit(self, work: Callable[[], T], *, of: object, key: str, wait: float | None) -> Call[T]:
        """Begin a call, on the running loop; `of` is what logs name. Raises: ExecutorBusy."""
        call = Call(work, of, key, asyncio.get_running_loop(), copy_context())
        with self._lock:
            placed = self._place(call, wait)
        if not placed:
            raise self._refusal()
        return call

    def abandon(self, call: Call[Any]) -> None:
        """Give up on a call, unless it is over. On the loop that made it."""
        with self._lock:
            if call.over:
                return
            call.over = self._withdraw(call)
            call.abandoned = not call.over
            self._abandoned += call.abandoned
        call.future.cancel()
        if call.abandoned:
            metrics.EXECUTOR_ABANDONS.inc()
            call.later(max(0.0, call.started + self._slow_after - time.monotonic()), _log_slow)
            if call.on_abandon is not None:
                call.on_abandon()

    def stats(self) -> Stats:
        """How busy it is now."""
        with self._lock:
            threads = len(self._workers)
            queued = len(self._queue) + len(self._waiting)
            return Stats(threads, threads - len(self._idle), queued, self._abandoned, self._rejected)

    @property
    def contended(self) -> bool:
        """Whether calls wait for a thread."""
        return bool(self._queue or self._waiting)

    def shutdown(self, timeout: float = 0.0) -> bool:
        """Refuse what is queued and what is to come, and wait for the threads; True if all have ended in time.

        Blocks for up to `timeout` seconds: where a loop runs that the threads may need, call it in another thread.
        What still runs then ends with the process.
        """
        with self._lock:
            self._closed = True
            refused = [*self._queue.drain(), *self._waiting.drain()]
            for call in refused:
                call.over = True
            workers = self._workers.copy()
            while self._idle:
                self._dismiss(self._idle.pop())
        for call in refused:
            call.fail(self._refusal())
            call.deliver()
        deadline = time.monotonic() + timeout
        for worker in workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        self.children.close()
        return not any(worker.is_alive() for worker in workers)

    # ---- for its threads

    def claim(self, call: Call[Any]) -> bool:
        """Take a call out of the queue, to be performed by the thread that asks; False if it is not there."""
        with self._lock:
            return self._withdraw(call)

    def release(self, call: Call[Any], freed: Worker | None) -> None:
        """Take note that a call is over; a freed thread gets the next one."""
        with self._lock:
            call.over = True
            self._abandoned -= call.abandoned
            if freed is not None:
                self._employ(freed)

    # ---- inside, with the lock held

    def _place(self, call: Call[Any], wait: float | None) -> bool:
        if self._closed:
            return self._reject()
        if self._idle:
            self._idle.pop().inbox.put(call)
        elif len(self._workers) < self.threads:
            self._hire().inbox.put(call)
        elif len(self._queue) < self.queue:
            self._line_up(call, self._queue)
        elif wait:
            self._line_up(call, self._waiting)
            if wait != math.inf:
                call.later(wait, self._expire)
        else:
            return self._reject()
        return True

    def _hire(self) -> Worker:
        worker = Worker(self, f"parley-executor-{len(self._workers)}")
        worker.start()
        self._workers.append(worker)
        return worker

    def _employ(self, worker: Worker) -> None:
        following = self._queue.pop() or self._waiting.pop()
        self._admit()
        if following is not None:
            worker.inbox.put(following)
        elif self._closed:
            self._dismiss(worker)
        else:
            self._idle.append(worker)

    def _dismiss(self, worker: Worker) -> None:
        self._workers.remove(worker)
        worker.inbox.put(None)

    def _line_up(self, call: Call[Any], queue: FairQueue[Call[Any]]) -> None:
        queue.push(call)
        offer = call.context.get(helper)
        if offer is not None:
            offer(call)

    def _withdraw(self, call: Call[Any]) -> bool:
        found = self._queue.remove(call) or self._waiting.remove(call)
        self._admit()
        return found

    def _admit(self) -> None:
        """Let one that waits for room take the place that has become free, if one has."""
        if len(self._queue) < self.queue and (call := self._waiting.pop()) is not None:
            self._queue.push(call)

    def _reject(self) -> bool:
        self._rejected += 1
        metrics.EXECUTOR_REJECTED.inc()
        return False

    def _expire(self, call: Call[Any]) -> None:
        """The time to wait for room is over. Takes the lock itself."""
        with self._lock:
            if not self._waiting.remove(call):
                return
            call.over = True
            self._reject()
        call.fail(self._refusal())
        call.deliver()

    def _refusal(self) -> ExecutorBusy:
        if self._closed:
            return ExecutorBusy("the executor is shutting down")
        return ExecutorBusy(
            f"all {self.threads} threads are taken and {self.queue} calls wait for one (PARLEY_EXECUTOR_THREADS,"
            " PARLEY_EXECUTOR_QUEUE): try again later, or give the call time with make_async(f, wait=seconds)"
        )


def _log_slow(call: Call[Any]) -> None:
    log.warning(
        "executor_call_abandoned",
        function=call.name,
        key=call.key,
        seconds=round(time.monotonic() - call.started, 1),
        reason="it was cancelled, but its thread is taken until it returns",
    )
