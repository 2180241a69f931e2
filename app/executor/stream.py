"""Reading a synchronous generator in threads, as an asynchronous one, a bounded number of items ahead."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import math
import threading
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import copy_context
from functools import partial
from typing import Any, Generic, TypeVar

from app.errors import ExecutorBusy
from app.executor.call import Call
from app.executor.pool import BoundedExecutor, executor_key

T = TypeVar("T")

READ_AHEAD = 32
"""Items that may be read and not yet taken. A full buffer gives its thread back."""

SLICE = 0.01
"""Seconds a generator may keep its thread while others wait for one; it goes on when it is its key's turn again."""


async def stream(
    executor: BoundedExecutor, generator: Generator[T, Any, Any], wait: float | None
) -> AsyncGenerator[T, None]:
    """The items of a generator that blocks. However this ends, the generator is closed in a thread.

    `aclose()` waits for that, a cancelled task does not. All steps see one copy of the context as it was at the
    first; what they set in it stays there. Raises: ExecutorBusy at the first item; and what the generator raises.
    """
    feed = _Feed(executor, generator)
    feed.fill(wait)
    try:
        while await feed.more():
            while feed.items:
                yield feed.items.popleft()
                if len(feed.items) == READ_AHEAD // 2:
                    feed.fill(math.inf)
    except GeneratorExit:
        await feed.close()
        raise
    except BaseException:
        feed.cancel()
        raise


class _Feed(Generic[T]):
    """What a generator's reading thread and its consumer share. At most one thread is in the generator at a time."""

    def __init__(self, executor: BoundedExecutor, generator: Generator[T, Any, Any]) -> None:
        self.items: deque[T] = deque()
        self._executor = executor
        self._generator = generator
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()
        self._key = executor_key.get()
        self._call: Call[None] | None = None
        self._closer: Call[None] | None = None
        self._wake = asyncio.Event()
        self._hungry = False
        self._error: BaseException | None = None
        """StopIteration at the regular end."""
        self._lock = threading.Lock()
        self._reading = False
        self._stopping = False

    # ---- on the loop

    async def more(self) -> bool:
        """Wait for an item; False if there will be none. Raises: what the generator raised, or ExecutorBusy."""
        while not self.items:
            if self._call is None and self._ended():
                return False
            self.fill(math.inf)
            self._hungry = True
            self._wake.clear()
            if not self.items:
                await self._wake.wait()
        return True

    def fill(self, wait: float | None) -> None:
        """Have a thread read on, unless one does or there is nothing to read."""
        if self._call is not None or self._error is not None:
            return
        try:
            self._call = self._submit(self._read, wait)
        except ExecutorBusy as error:
            self._error = error
        else:
            self._call.future.add_done_callback(self._filled)

    async def close(self) -> None:
        """Stop reading, and wait until the generator has been closed."""
        call = self._stop()
        if call is not None:
            try:
                await call.future
            except asyncio.CancelledError:
                self._abandon(call)
                raise

    def cancel(self) -> None:
        """Stop reading; the generator is closed as soon as it gives its thread back."""
        call = self._stop()
        if call is not None:
            self._abandon(call)

    def _abandon(self, call: Call[None]) -> None:
        if call is not self._closer:
            self._executor.abandon(call)

    def _stop(self) -> Call[None] | None:
        """Have the generator closed: by the thread that is in it, or else by a call of its own, which is returned."""
        with self._lock:
            self._stopping = True
            reading = self._reading
        if reading:
            return self._call
        if self._call is not None:
            self._executor.abandon(self._call)
        if inspect.getgeneratorstate(self._generator) != inspect.GEN_SUSPENDED:
            self._generator.close()  # nothing of it runs
            return None
        with contextlib.suppress(ExecutorBusy):  # shut down: it is closed when it is collected
            self._closer = self._submit(self._generator.close, math.inf)
        return self._closer

    def _ended(self) -> bool:
        error = self._error
        if error is None or isinstance(error, StopIteration):
            return error is not None
        try:
            raise error
        finally:
            self._error = StopIteration()
            del error  # its frames lead here

    def _filled(self, filled: asyncio.Future[None]) -> None:
        self._call = None
        if not filled.cancelled():
            self._error = filled.exception() or self._error
        self._wake.set()

    def _submit(self, work: Callable[[], None], wait: float | None) -> Call[None]:
        return self._executor.submit(partial(self._context.run, work), of=self._generator, key=self._key, wait=wait)

    # ---- in a thread

    def _read(self) -> None:
        if self._enter():
            self._read_on()
            if self._leave():
                self._generator.close()

    def _enter(self) -> bool:
        with self._lock:
            self._reading = not self._stopping
            return self._reading

    def _leave(self) -> bool:
        with self._lock:
            self._reading = False
            return self._stopping

    def _read_on(self) -> None:
        until = time.monotonic() + SLICE
        while not self._stopping and len(self.items) < READ_AHEAD:
            try:
                self.items.append(next(self._generator))
            except BaseException as error:  # noqa: BLE001  # the consumer's to handle
                self._error = error
                return
            if self._hungry:
                self._hungry = False
                self._loop.call_soon_threadsafe(self._wake.set)
            if self._executor.contended and time.monotonic() > until:
                return
