"""Blocking functions and generators that a test can see into, turns, and threads of the author's own."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from typing import Any, TypeVar

from app.executor import drive, make_async, run_sync

T = TypeVar("T")

place = contextvars.ContextVar("place", default="nowhere")


class Gate:
    """A function that blocks until `open()`, and tells who is in it. Made on the loop of the test."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()
        self._lock = threading.Lock()
        self._entered: asyncio.Queue[object] = asyncio.Queue()
        self.inside = 0
        self.most = 0
        """The most threads that were inside at once."""

    def __call__(self, value: object) -> object:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self._loop.call_soon_threadsafe(self._entered.put_nowait, value)
        assert self._open.wait(30)
        with self._lock:
            self.inside -= 1
        return value

    async def entered(self) -> object:
        """Wait for the next one to come in."""
        return await self._entered.get()

    def open(self) -> None:
        """Let all out, and all who are to come pass."""
        self._open.set()


def turn(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run a coroutine as the runtime runs a handler."""

    async def call() -> T:
        return await drive(coroutine)

    return asyncio.create_task(call())


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread brings about; the test's time-out ends a wait in vain."""
    while not condition():
        await asyncio.sleep(0.001)


def deep(depth: int, coroutine: Coroutine[Any, Any, T]) -> T:
    """Synchronous code, so many calls above a `run_sync`."""
    return deep(depth - 1, coroutine) if depth else run_sync(coroutine)


async def after(event: asyncio.Event, value: T) -> T:
    await event.wait()
    return value


def in_own_thread(function: Callable[[], object]) -> asyncio.Future[object]:
    """Call a function in a thread that no executor knows."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()

    def target() -> None:
        try:
            result = function()
        except Exception as error:  # noqa: BLE001  # the test's to handle
            loop.call_soon_threadsafe(future.set_exception, error)
        else:
            loop.call_soon_threadsafe(future.set_result, result)

    threading.Thread(target=target, daemon=True).start()
    return future


class Source:
    """A generator function that counts what it has made, and tells when it is closed."""

    def __init__(self, items: int = 1_000_000) -> None:
        self.items = items
        self.made = 0
        self.closed = threading.Event()
        self.closed_in = ""
        self.stream = make_async(self.read)

    def read(self) -> Iterator[int]:
        try:
            for n in range(self.items):
                self.made = n + 1
                yield n
        finally:
            self.closed_in = threading.current_thread().name
            self.closed.set()

    async def is_closed(self) -> bool:
        await until(self.closed.is_set)
        return self.closed_in.startswith("parley-executor-")


async def collect(stream: AsyncGenerator[T, None]) -> list[T]:
    return [item async for item in stream]
