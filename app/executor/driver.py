"""Driving a coroutine so that synchronous code inside it can wait: one greenlet switch each way for every step.

A task asks its coroutine for one step at a time: it runs until it has to wait, and hands out the future it waits
for. `drive` passes these steps on, but runs each in a *stepper*, a greenlet with a stack of its own. So when
synchronous code in a step calls `suspend`, the stepper is left standing in mid-call while its driver hands out
the future in the step's name: the task waits, the loop serves everyone else, and no second loop is ever run.
When the future is done the driver switches back into the stepper, and the synchronous code goes on.

Steppers are shared. A step that ends gives its stepper back, so a turn that merely waits holds none of them.
"""

from __future__ import annotations

import asyncio
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, ContextVar
from functools import partial
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from app.errors import OutsideTurn

T = TypeVar("T")

TaskFactory = Callable[..., asyncio.Future[Any]]
"""As `asyncio.AbstractEventLoop.set_task_factory` takes it."""

MAX_IDLE = 64
"""Steppers that a thread keeps for reuse, some 20 KB each; there are more only while `suspend` holds them."""

_driven: ContextVar[bool] = ContextVar("parley_driven", default=False)
"""Whether this is the context of a driven coroutine: tasks that are made in it are driven too."""


@types.coroutine
def drive(coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Await a coroutine so that synchronous code in it may call `suspend`.

    Marks the context it is awaited in: tasks that are made there are driven too, on a loop whose task factory is
    `driving`.
    """
    _driven.set(True)
    idle = _idle.steppers
    send = coroutine.send
    act, value = send, None
    while True:
        stepper = idle.pop() if idle else _Stepper()
        handover = stepper.handover
        handover.act, handover.value = act, value
        del act, value  # an error in hand would keep its own frames alive
        handover.driver = driver = getcurrent()
        stepper.gr_context = driver.gr_context
        stepper.switch()
        if handover.waiting is None:
            stepper.gr_context = None  # an idle one would keep the last turn, and all it had in hand
            idle.append(stepper)
        else:
            while (waiting := handover.waiting) is not None:
                handover.waiting = None
                try:
                    act, value = waiting.switch, (yield handover.yielded)
                except BaseException as error:  # noqa: BLE001  # the suspended code's to handle
                    act, value = waiting.throw, error
                handover.driver = getcurrent()
                act(value)
                del act, value
            if len(idle) < MAX_IDLE:
                stepper.gr_context = None
                idle.append(stepper)
        if handover.error is not None:
            return _outcome(handover)  # type: ignore[no-any-return]  # what the coroutine returned
        try:
            act, value = send, (yield handover.yielded)
        except BaseException as error:  # noqa: BLE001  # the coroutine's to handle
            act, value = coroutine.throw, error


def suspend(coroutine: Coroutine[Any, Any, T]) -> T:
    """Wait for a coroutine in synchronous code, at any depth of calls below a driven one.

    It runs here, in this context and this task; only what it waits for is handed to the driver.
    Raises: OutsideTurn if no driver is running this code; and whatever is thrown into the driven coroutine.
    """
    try:
        handover = _handover_here()
    except OutsideTurn:
        coroutine.close()
        raise
    act: Callable[[Any], Any] = coroutine.send
    value: Any = None
    while True:
        try:
            handover.yielded = act(value)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # what the coroutine returned
        finally:
            value = None  # as in drive
        try:
            act, value = coroutine.send, handover.pause()
        except BaseException as error:  # noqa: BLE001  # the coroutine's to handle
            act, value = coroutine.throw, error


def driving(inner: TaskFactory | None) -> TaskFactory:
    """A task factory that drives what driven code makes a task of; tasks are made by `inner`, or else by asyncio."""

    def factory(
        loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Future[Any]:
        context: Context | None = options.get("context")
        if _driven.get() or (context is not None and context.get(_driven, False)):
            coroutine = _driven_coroutine(coroutine)
        if inner is None:
            return asyncio.Task(coroutine, loop=loop, **options)
        return inner(loop, coroutine, **options)

    return factory


def driven_task(
    loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], context: Context
) -> asyncio.Task[T]:
    """Make a driven task, whatever the loop's task factory is."""
    return asyncio.Task(_driven_coroutine(coroutine), loop=loop, context=context)


def mark_driven() -> None:
    """Let tasks that are made in this context be driven, where the loop's task factory is `driving`."""
    _driven.set(True)


def _driven_coroutine(coroutine: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]:
    steps = _owned(coroutine)
    next(steps)
    driven = _await(steps)
    driven.__qualname__ = getattr(coroutine, "__qualname__", "?")  # type: ignore[attr-defined]  # for the task's repr
    return driven


@types.coroutine
def _owned(coroutine: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Drive it after a first `next`; from then on it is closed even if its task is cancelled before it begins."""
    try:
        yield
    except GeneratorExit:
        coroutine.close()
        raise
    return (yield from drive(coroutine))


async def _await(steps: Generator[Any, Any, T]) -> T:
    return await steps  # type: ignore[misc,no-any-return]  # types.coroutine made it awaitable


class _Handover:
    """What a driver and its stepper tell each other about the step between them."""

    __slots__ = ("act", "driver", "error", "value", "waiting", "yielded")

    act: Callable[[Any], Any] | None
    """The step: the coroutine's `send` or `throw`."""
    value: Any
    """What is sent or thrown."""
    driver: greenlet
    """Who asked for the step, to be switched back to."""
    yielded: Any
    """What is waited for, unless the coroutine ended."""
    error: BaseException | None
    """How the coroutine ended: StopIteration with its result, or what it raised."""
    waiting: greenlet | None
    """Where `suspend` stands while the step is not over."""

    def __init__(self) -> None:
        self.error = self.waiting = None

    def pause(self) -> Any:
        """Let the driver hand out what is waited for; returns or raises what came of it."""
        self.waiting = getcurrent()
        return self.driver.switch()


class _Stepper(greenlet):
    """Runs steps of any coroutine, one after the other."""

    __slots__ = ("handover",)

    def __init__(self) -> None:
        self.handover = _Handover()
        super().__init__(partial(_run_steps, self.handover))


def _run_steps(handover: _Handover) -> None:
    # Knows no stepper, so that an idle one does not keep itself alive, and keeps nothing of a step that is over.
    while True:
        try:
            handover.yielded = handover.act(handover.value)  # type: ignore[misc]  # set for every step
        except BaseException as error:  # noqa: BLE001  # raised again by the driver
            handover.error = error
        handover.act = handover.value = None
        handover.driver.switch()


class _Idle(threading.local):
    """A thread's steppers without a step: a greenlet belongs to its thread."""

    def __init__(self) -> None:
        self.steppers: list[_Stepper] = []


_idle = _Idle()


def _outcome(handover: _Handover) -> Any:
    error, handover.error = handover.error, None
    try:
        if isinstance(error, StopIteration):
            return error.value
        raise error  # type: ignore[misc]  # only asked for when there is one
    finally:
        del error  # its frames lead here


def _handover_here() -> _Handover:
    here: greenlet | None = getcurrent()
    while here is not None:  # other libraries' greenlets may stand between, such as SQLAlchemy's
        if isinstance(here, _Stepper):
            return here.handover
        here = here.parent
    raise OutsideTurn(
        "run_sync() cannot wait here: this is the event loop's thread, and outside a turn nothing can be suspended."
        " Await the coroutine instead; or, from synchronous code, call that code through make_async()"
    )
