"""Blocking functions that a test can see into, and turns."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from app.executor import drive

T = TypeVar("T")


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

    def __call__(self, value: T) -> T:
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
    while not condition():  # noqa: ASYNC110  # there is no event in the other thread's world
        await asyncio.sleep(0.001)
