"""One call on its way through the executor, and the threads that perform calls."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any, Generic, Protocol, TypeVar

from app import logs, metrics

log = logs.get(__name__)

T = TypeVar("T")


class Call(Generic[T]):
    """A function to call in a thread, and the future its result goes to on the loop that asked for it."""

    __slots__ = (
        "_error",
        "_of",
        "_result",
        "_timer",
        "_work",
        "abandoned",
        "asked",
        "context",
        "future",
        "key",
        "loop",
        "on_abandon",
        "over",
        "started",
    )

    def __init__(
        self, work: Callable[[], T], of: object, key: str, loop: asyncio.AbstractEventLoop, context: Context
    ) -> None:
        self._work = work
        self._of = of
        self.key = key
        self.loop = loop
        self.context = context
        self.future: asyncio.Future[T] = loop.create_future()
        self.asked = self.started = time.monotonic()
        self.over = False
        """Whether its thread is done with it. Guarded by the executor's lock, as is `abandoned`."""
        self.abandoned = False
        """Whether a thread was taken for it when it was cancelled."""
        self.on_abandon: Callable[[], object] | None = None
        """What else is to be cancelled with it. Used on the loop only."""
        self._timer: asyncio.TimerHandle | None = None
        self._error: BaseException | None = None

    @property
    def name(self) -> str:
        """The name of what is called, for people."""
        called = getattr(self._of, "func", self._of)
        return str(getattr(called, "__qualname__", called))

    def perform(self) -> None:
        """Call the function in this thread, and keep what comes of it."""
        self.started = time.monotonic()
        if self.abandoned:
            return
        try:
            self._result = self.context.run(self._work)
        except StopIteration as error:  # a future cannot raise it: PEP 479 says what becomes of it in a coroutine
            self.fail(RuntimeError(f"{self.name} raised StopIteration"), error)
        except BaseException as error:  # noqa: BLE001  # the caller's to handle
            self.fail(error)

    def fail(self, error: BaseException, cause: BaseException | None = None) -> None:
        """Keep an error as what came of it."""
        error.__cause__ = cause or error.__cause__
        self._error = error

    def deliver(self) -> None:
        """Send what came of it to the loop. From any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(self._settle)

    def later(self, delay: float, act: Callable[[Call[Any]], None]) -> None:
        """Call `act` in so many seconds unless it has settled by then. On the loop only, one at a time."""
        self._disarm()
        self._timer = self.loop.call_later(delay, act, self)

    def _settle(self) -> None:
        self._disarm()
        future, error = self.future, self._error
        del self.future, self._error  # the error's frames lead here
        if not future.done():
            if error is None:
                future.set_result(self._result)
            else:
                future.set_exception(error)
        elif error is not None and not isinstance(error, asyncio.CancelledError):
            log.warning(
                "executor_call_failed", function=self.name, key=self.key, reason="it was abandoned", exc_info=error
            )

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Source(Protocol):
    """Where worker threads have their calls from."""

    def claim(self, call: Call[Any]) -> bool:
        """Take a call out of the queue, to be performed by the thread that asks; False if it is not there."""

    def release(self, call: Call[Any], freed: Worker | None) -> None:
        """Take note that a call is over; a freed thread gets the next one."""


class Worker(threading.Thread):
    """A thread of the executor: performs the calls that are put in its inbox, until it finds None there."""

    def __init__(self, source: Source, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.inbox: queue.SimpleQueue[Call[Any] | None] = queue.SimpleQueue()
        self.call: Call[Any] | None = None
        """What it performs now: the innermost call, if it helps."""
        self._source = source

    def run(self) -> None:
        """Perform calls until told to end."""
        while self._serve():
            pass

    def help(self, call: Call[Any]) -> None:
        """Perform a call within the present one, if it is still queued. From this thread."""
        if self._source.claim(call):
            self._perform(call, None)

    def _serve(self) -> bool:
        call = self.inbox.get()
        if call is not None:
            self._perform(call, self)
        return call is not None

    def _perform(self, call: Call[Any], freed: Worker | None) -> None:
        outer, self.call = self.call, call
        call.perform()
        self.call = outer
        ended = time.monotonic()
        self._source.release(call, freed)
        call.deliver()
        metrics.EXECUTOR_WAIT.observe(call.started - call.asked)
        metrics.EXECUTOR_RUN.observe(ended - call.started)
