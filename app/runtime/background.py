"""The tasks that handlers start: they may outlive their turn, and never their worker."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from contextlib import suppress
from typing import Any

from app import logs
from app.metrics import BACKGROUND_TASKS
from app.runtime.context import current

log = logs.get(__name__)

STOP_WITHIN = 2.0
"""Seconds in which cancelled tasks may end before the worker goes on without them."""


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait for them. One that goes on all the same is closed where it stands."""
    left = set(tasks)
    for task in left:
        task.cancel()
    if left:
        _, left = await asyncio.wait(left, timeout=STOP_WITHIN)
    for task in left:
        log.warning("task_closed", task=repr(task)[:200], reason="it goes on although cancelled")
        coroutine = task.get_coro() if isinstance(task, asyncio.Task) else None
        if isinstance(coroutine, Coroutine):
            with suppress(RuntimeError):  # it goes on even so: nothing more can be done
                coroutine.close()
        task.cancel()


class Background:
    """Owns every task that is started in a turn, from its start to its end."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._factory: Any = None
        BACKGROUND_TASKS.set_function(lambda: len(self._tasks))

    def start(self) -> None:
        """Own the tasks of the running loop from now on; composes with the task factory it has."""
        self._loop = asyncio.get_running_loop()
        self._factory = self._loop.get_task_factory()
        self._loop.set_task_factory(self._make)  # type: ignore[arg-type]  # typeshed narrows it to what 3.14 passes

    async def stop(self) -> None:
        """Cancel what still runs and wait for it, and let the loop's tasks go."""
        if self._loop is not None:
            self._loop.set_task_factory(self._factory)
            self._loop = None
        await end(tuple(self._tasks))

    def _make(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Future[Any]:
        task: asyncio.Future[Any] = (
            self._factory(loop, coroutine, **options)
            if self._factory
            else asyncio.Task(coroutine, loop=loop, **options)
        )
        if current.get() is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return task
