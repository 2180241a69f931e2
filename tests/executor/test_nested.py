"""Executors and loops of special make: few threads, eager tasks."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator

import pytest
import uvloop

from app.errors import ExecutorBusy
from app.executor import install, make_async, run_sync
from tests.executor.conftest import MakeExecutor
from tests.executor.gate import Gate, after, deep, turn

pytestmark = pytest.mark.timeout(30)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_children(make_executor: MakeExecutor) -> None:
    loop = asyncio.get_running_loop()
    if sys.version_info[:2] == (3, 13) and isinstance(loop, uvloop.Loop):
        pytest.skip("uvloop hands on `eager_start`, which asyncio's own factory does not know yet")
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    install(make_executor(), loop)
    event = asyncio.Event()
    begun: list[str] = []

    async def child(name: str) -> str:
        begun.append(name)
        value = deep(2, after(event, name))
        return value + deep(1, asyncio.sleep(0, "!"))

    async def handler() -> list[str]:
        tasks = [asyncio.create_task(child(name)) for name in "ab"]
        assert begun == ["a", "b"]
        event.set()
        return await asyncio.gather(*tasks)

    assert await turn(handler()) == ["a!", "b!"]


@pytest.mark.parametrize("queue", [0, 1_000])
async def test_calls_within_calls_do_not_wait_for_themselves(make_executor: MakeExecutor, queue: int) -> None:
    """Ten times as deep as there are threads, from all of them at once."""
    executor = make_executor(2, queue=queue)
    install(executor, asyncio.get_running_loop())

    def nested(depth: int) -> int:
        return depth and 1 + run_sync(make_async(nested, wait=30)(depth - 1))

    assert await asyncio.gather(*(turn(make_async(nested, wait=30)(20)) for _ in range(4))) == [20] * 4
    assert executor.stats().threads == 2


async def test_a_generator_within_a_call(make_executor: MakeExecutor) -> None:
    install(make_executor(1, queue=1), asyncio.get_running_loop())

    def numbers() -> Iterator[int]:
        yield from range(1_000)

    async def total() -> int:
        return sum([n async for n in make_async(numbers)()])

    assert await make_async(lambda: run_sync(total()))() == 499_500


async def test_wait_is_passed_on(make_executor: MakeExecutor, gate: Gate) -> None:
    install(make_executor(1, queue=0), asyncio.get_running_loop())
    running = asyncio.create_task(make_async(gate)(None))
    await gate.entered()
    with pytest.raises(ExecutorBusy):
        await make_async(int)()
    waiting = asyncio.create_task(make_async(int, wait=30)())
    await asyncio.sleep(0)
    gate.open()
    assert (await running, await waiting) == (None, 0)


async def test_a_process_has_one_worker(make_executor: MakeExecutor) -> None:
    install(make_executor(), asyncio.get_running_loop())
    with pytest.raises(RuntimeError, match="uninstall"):
        install(make_executor(), asyncio.get_running_loop())
