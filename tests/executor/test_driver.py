"""Driving: what it leaves as it was, and what it costs others, which is nothing."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import weakref
from collections.abc import AsyncGenerator, Iterator

import pytest

from app.executor import drive, install, uninstall
from app.executor.driver import MAX_IDLE, _idle
from tests.executor.conftest import MakeExecutor
from tests.executor.gate import after, deep, place, turn

pytestmark = [pytest.mark.timeout(30), pytest.mark.usefixtures("worker")]


class Thing:
    """Something that can be seen to be gone."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only what nothing refers to goes away."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


# ---- as if it were not there


async def test_turns_that_share_a_stepper_do_not_share_a_context() -> None:
    async def handler(name: str) -> list[str]:
        place.set(name)
        seen = []
        for _ in range(3):
            await asyncio.sleep(0)
            seen.append(place.get())
        return seen

    names = [str(n) for n in range(20)]
    assert await asyncio.gather(*(turn(handler(name)) for name in names)) == [[name] * 3 for name in names]


async def test_a_suspended_turn_keeps_its_context_and_the_error_it_handles() -> None:
    async def handler(name: str) -> tuple[str, BaseException | None]:
        place.set(name)
        try:
            int(f"no number {name}")
        except ValueError:
            deep(2, asyncio.sleep(0.01))
            return place.get(), sys.exc_info()[1]
        return "", None

    for n, (seen, error) in enumerate(await asyncio.gather(*(turn(handler(str(n))) for n in range(20)))):
        assert seen == str(n)
        assert f"no number {n}'" in str(error)


async def test_a_turn_that_swallows_its_cancelling_goes_on() -> None:
    async def handler() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            return deep(1, asyncio.sleep(0, "went on"))
        return "was not cancelled"

    task = turn(handler())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "went on"


async def test_asynchronous_generators_and_context_managers() -> None:
    closed: list[str] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            for n in range(5):
                yield deep(1, asyncio.sleep(0, n))
        finally:
            closed.append(deep(1, asyncio.sleep(0, "closed")))

    async def handler() -> list[int]:
        return [n async for n in numbers()]

    assert await turn(handler()) == [0, 1, 2, 3, 4]
    assert closed == ["closed"]


async def test_a_driver_can_be_driven() -> None:
    async def handler() -> str:
        return deep(2, asyncio.sleep(0, "inner")) + await asyncio.sleep(0, "!")

    async def outer() -> str:
        return await drive(handler()) + deep(1, asyncio.sleep(0, "outer"))

    assert await turn(outer()) == "inner!outer"


async def test_a_child_is_shown_by_its_own_name() -> None:
    async def a_child() -> None:
        await asyncio.sleep(0)

    async def handler() -> str:
        task = asyncio.create_task(a_child(), name="its name")
        shown = repr(task)
        await task
        return shown

    shown = await turn(handler())
    assert "a_child" in shown
    assert "its name" in shown


async def test_a_child_that_is_cancelled_before_it_begins() -> None:
    """It is closed: a coroutine that was never awaited would be warned about, and fail this test."""
    ran: list[str] = []

    async def child() -> None:
        ran.append("child")

    async def handler() -> None:
        task = asyncio.create_task(child())
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    await turn(handler())
    gc.collect()
    assert ran == []


async def test_tasks_outside_turns_are_as_they_were() -> None:
    async def coroutine() -> None: ...

    coro = coroutine()
    task = asyncio.create_task(coro)
    assert task.get_coro() is coro
    await task


async def test_another_task_factory_goes_on_making_the_tasks(make_executor: MakeExecutor) -> None:
    made: list[asyncio.Task[object]] = []

    class OwnTask(asyncio.Task[object]):
        pass

    def factory(loop: asyncio.AbstractEventLoop, coroutine: object, **options: object) -> OwnTask:
        made.append(OwnTask(coroutine, loop=loop, **options))  # type: ignore[arg-type]
        return made[-1]  # type: ignore[return-value]

    async def child() -> str:
        return deep(1, asyncio.sleep(0, "driven"))

    async def handler() -> str:
        return await asyncio.create_task(child(), name="child")

    loop = asyncio.get_running_loop()
    uninstall()
    loop.set_task_factory(factory)  # type: ignore[arg-type]
    install(make_executor(), loop)
    assert await turn(handler()) == "driven"
    assert [type(task) for task in made] == [OwnTask, OwnTask]
    uninstall()
    assert loop.get_task_factory() is factory


# ---- nothing is left over


async def test_idle_steppers_are_bounded_and_a_waiting_turn_holds_none() -> None:
    event = asyncio.Event()

    async def handler(*, suspended: bool) -> str:
        return deep(1, after(event, "")) if suspended else await after(event, "")

    turns = [turn(handler(suspended=False)) for _ in range(500)]
    await asyncio.sleep(0)
    assert len(_idle.steppers) <= MAX_IDLE
    turns += [turn(handler(suspended=True)) for _ in range(500)]
    await asyncio.sleep(0)
    event.set()
    await asyncio.gather(*turns)
    assert len(_idle.steppers) == MAX_IDLE


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("suspended", [False, True])
async def test_a_turn_leaves_no_cycles(suspended: bool) -> None:  # noqa: FBT001
    """Neither when it returns, nor when it raises, nor when it is cancelled."""
    refs: list[weakref.ref[Thing]] = []

    async def handler(ending: str) -> Thing:
        thing = Thing()
        refs.append(weakref.ref(thing))
        wait = asyncio.sleep(60 if ending == "cancel" else 0, thing)
        if suspended:
            deep(2, wait)
        else:
            await wait
        if ending == "raise":
            raise LookupError
        return thing

    for ending in ("return", "raise", "cancel"):
        task = turn(handler(ending))
        await asyncio.sleep(0)
        if ending == "cancel":
            task.cancel()
        await asyncio.wait({task})
        if ending == "raise":
            assert isinstance(task.exception(), LookupError)
        del task
        await asyncio.sleep(0)
        assert refs.pop()() is None, ending


async def test_a_turn_that_is_dropped_while_suspended_unwinds() -> None:
    """As when a loop is closed over it: its `finally` blocks run."""
    unwound: list[str] = []

    async def handler() -> None:
        try:
            deep(2, after(asyncio.Event(), ""))
        finally:
            unwound.append("handler")

    async def call() -> None:
        await drive(handler())

    coroutine = call()
    contextvars.copy_context().run(coroutine.send, None)
    coroutine.close()
    assert unwound == ["handler"]
