"""Running a coroutine at once, and making a task only of what is left of it when it has to wait."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")


def begin(coroutine: Coroutine[Any, Any, T]) -> Awaitable[T] | None:
    """Run a coroutine up to its first wait. Answers with the rest of it, to be awaited in a task, or None at its end.

    What never waits costs no task and no turn of the loop. Its first step runs in the caller's task, so it must not
    depend on which task that is, as `asyncio.timeout` does. The idea is that of `asyncio.eager_task_factory`, which
    Python 3.11 does not have. Raises: what the coroutine raises before it waits.
    """
    try:
        waiting = coroutine.send(None)
    except StopIteration:
        return None
    return _rest(coroutine, waiting)


@types.coroutine
def _rest(coroutine: Coroutine[Any, Any, T], waiting: Any) -> Generator[Any, Any, T]:
    while True:
        act: Callable[[Any], Any] = coroutine.send
        value: Any = None
        try:
            value = yield waiting
        except BaseException as error:  # noqa: BLE001  # the coroutine's to handle
            act, value = coroutine.throw, error
        try:
            waiting = act(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the coroutine returned
        finally:
            del act, value  # an error in hand would keep its own frames alive
