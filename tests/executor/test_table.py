"""The rows of the table of where `make_async` and `run_sync` are called from: those on the loop's thread.

A test here that hangs is a deadlock: the time-out is the watchdog.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import traceback
from typing import Any

import greenlet
import pytest

from app.errors import OutsideTurn
from app.executor import drive, make_async, run_sync
from tests.executor.gate import after, deep, place, turn, until

pytestmark = [pytest.mark.timeout(30), pytest.mark.usefixtures("worker")]


# ---- a handler on the loop


async def test_handler_make_async() -> None:
    async def handler() -> tuple[str, bool]:
        place.set("turn")
        return await make_async(lambda: (place.get(), threading.current_thread() is threading.main_thread()))()

    assert await turn(handler()) == ("turn", False)


async def test_handler_is_suspended_and_the_loop_goes_on() -> None:
    """In an order that nested loops cannot have: what was begun first ends first."""
    events = {name: asyncio.Event() for name in "abc"}
    ended: list[str] = []

    async def handler(name: str) -> None:
        ended.append(deep(10, after(events[name], name)))

    turns = [turn(handler(name)) for name in events]
    await asyncio.sleep(0)
    for event in events.values():
        event.set()
        await asyncio.sleep(0.01)
    await asyncio.gather(*turns)
    assert ended == ["a", "b", "c"]


async def test_a_thousand_handlers_are_suspended_at_once() -> None:
    event = asyncio.Event()
    suspended = 0

    async def wait() -> str:
        nonlocal suspended
        suspended += 1
        return await after(event, "done")

    async def handler() -> tuple[str, str]:
        return deep(5, wait()), deep(3, asyncio.sleep(0, "again"))

    turns = [turn(handler()) for _ in range(1_000)]
    await until(lambda: suspended == 1_000)
    event.set()
    assert set(await asyncio.gather(*turns)) == {("done", "again")}


async def test_handler_runs_the_coroutine_in_its_own_task_and_context() -> None:
    async def change() -> tuple[str, asyncio.Task[Any] | None]:
        before = place.get()
        await asyncio.sleep(0)
        place.set("changed")
        return before, asyncio.current_task()

    async def handler(name: str) -> bool:
        place.set(name)
        before, task = run_sync(change())
        return (before, place.get(), task) == (name, "changed", asyncio.current_task())

    assert all(await asyncio.gather(*(turn(handler(str(n))) for n in range(10))))
    assert place.get() == "nowhere"


async def test_handler_within_a_context_of_its_own() -> None:
    async def look() -> str:
        await asyncio.sleep(0)
        return place.get()

    async def handler() -> tuple[str, str]:
        context = contextvars.copy_context()
        context.run(place.set, "inner")
        return context.run(run_sync, look()), place.get()

    assert await turn(handler()) == ("inner", "nowhere")


async def test_handler_gets_what_the_coroutine_raises() -> None:
    async def failing() -> str:
        await asyncio.sleep(0)
        raise LookupError("here")

    async def handler() -> None:
        deep(2, failing())

    with pytest.raises(LookupError, match="here") as caught:
        await turn(handler())
    names = [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert names.index("handler") < names.index("deep") < names.index("failing")


async def test_cancelling_the_turn_raises_in_the_suspended_code() -> None:
    seen: list[str] = []

    async def never() -> str:
        try:
            return await after(asyncio.Event(), "never")
        finally:
            seen.append("coroutine")

    def code() -> None:
        try:
            deep(3, never())
        except asyncio.CancelledError:
            seen.append("code")
            raise
        finally:
            run_sync(asyncio.sleep(0))
            seen.append("clean-up")

    async def handler() -> None:
        code()

    task = turn(handler())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["coroutine", "code", "clean-up"]


async def test_timeouts_and_task_groups_work_in_the_coroutine() -> None:
    async def coroutine() -> str:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(asyncio.sleep(0, "grouped"))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        return task.result()

    async def handler() -> str:
        return deep(1, coroutine())

    assert await turn(handler()) == "grouped"


async def test_run_sync_within_run_sync() -> None:
    async def outer(depth: int) -> str:
        await asyncio.sleep(0)
        return deep(2, outer(depth - 1)) if depth else "bottom"

    async def handler() -> str:
        return deep(2, outer(20))

    assert await asyncio.gather(*(turn(handler()) for _ in range(5))) == ["bottom"] * 5


async def test_run_sync_takes_futures_and_tasks() -> None:
    async def handler() -> tuple[str, str]:
        return run_sync(asyncio.create_task(asyncio.sleep(0, "task"))), run_sync(asyncio.sleep(0, "coroutine"))

    assert await turn(handler()) == ("task", "coroutine")


async def test_run_sync_in_another_librarys_greenlet() -> None:
    """As SQLAlchemy's `AsyncSession.run_sync` calls a function."""

    async def handler() -> object:
        return greenlet.greenlet(lambda: deep(2, asyncio.sleep(0, "through")) + deep(1, asyncio.sleep(0, "!"))).switch()

    assert await turn(handler()) == "through!"


# ---- a task that a turn started


async def test_children_of_a_turn() -> None:
    event = asyncio.Event()

    async def child(value: str) -> str:
        await asyncio.sleep(0)
        return deep(3, after(event, value))

    async def handler() -> list[str]:
        asyncio.get_running_loop().call_later(0.01, event.set)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child("task group")), asyncio.create_task(child("task"))]
            gathered = await asyncio.gather(child("gather"), grandchild())
        return [*gathered, *(task.result() for task in tasks)]

    async def grandchild() -> str:
        return await asyncio.create_task(child("grandchild"))

    assert await turn(handler()) == ["gather", "grandchild", "task group", "task"]


async def test_a_child_that_a_callback_of_the_turn_starts() -> None:
    tasks: list[asyncio.Task[str]] = []

    async def child() -> str:
        return run_sync(asyncio.sleep(0, "called back"))

    async def handler() -> None:
        asyncio.get_running_loop().call_soon(lambda: tasks.append(asyncio.create_task(child())))

    await turn(handler())
    await asyncio.sleep(0)
    assert await tasks[0] == "called back"


async def test_a_child_is_cancelled_in_its_suspended_code() -> None:
    async def child() -> None:
        with pytest.raises(asyncio.CancelledError):
            deep(1, after(asyncio.Event(), "never"))
        raise LookupError

    async def handler() -> None:
        task = asyncio.create_task(child())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(LookupError):
            await task

    await turn(handler())


# ---- a loop's thread outside any turn


async def test_outside_a_turn_make_async_works() -> None:
    assert await make_async(int)("7") == 7


async def test_outside_a_turn_run_sync_says_what_to_do() -> None:
    with pytest.raises(RuntimeError, match=r"Await the coroutine instead.*make_async") as caught:
        deep(2, asyncio.sleep(0, ""))
    assert isinstance(caught.value, OutsideTurn)


async def test_in_a_callback_run_sync_says_so_too() -> None:
    raised = asyncio.get_running_loop().create_future()

    def callback() -> None:
        try:
            deep(1, asyncio.sleep(0, ""))
        except RuntimeError as error:
            raised.set_result(error)

    async def handler() -> object:
        asyncio.get_running_loop().call_soon(callback)
        return await raised

    assert isinstance(await turn(handler()), OutsideTurn)


async def test_on_a_loop_of_the_authors_own() -> None:
    async def main() -> int:
        with pytest.raises(OutsideTurn):
            deep(1, asyncio.sleep(0, ""))
        return await make_async(int)("7")

    assert await make_async(lambda: asyncio.run(main()))() == 7


async def test_a_driven_coroutine_can_be_awaited_anywhere() -> None:
    async def handler() -> str:
        return deep(2, asyncio.sleep(0, "driven"))

    assert await drive(handler()) == "driven"
    assert await turn(asyncio.wait_for(drive(handler()), 10)) == "driven"
