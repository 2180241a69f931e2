"""Every asynchronous test here runs on both loops; what a test installs is taken back, and all threads must return."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import uvloop

from app.executor import BoundedExecutor, install, uninstall
from app.executor.driver import _idle
from tests.executor.gate import Gate


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.SelectorEventLoop, "uvloop": uvloop.new_event_loop}


MakeExecutor = Callable[..., BoundedExecutor]


@pytest.fixture
async def make_executor() -> AsyncIterator[MakeExecutor]:
    """Make executors with 4 threads, room for 1,000 calls, and nothing slow, unless told otherwise."""
    made: list[BoundedExecutor] = []

    def make(threads: int = 4, queue: int = 1_000, slow_after: float = 60) -> BoundedExecutor:
        made.append(BoundedExecutor(threads, queue, slow_after))
        return made[-1]

    yield make
    for executor in made:
        assert await asyncio.to_thread(executor.shutdown, 10)
        assert executor.stats()[1:4] == (0, 0, 0)


@pytest.fixture
async def worker(make_executor: MakeExecutor) -> AsyncIterator[BoundedExecutor]:
    """The worker's executor, installed on the test's loop."""
    executor = make_executor()
    install(executor, asyncio.get_running_loop())
    yield executor
    uninstall()


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    """A function that blocks until the gate is opened; it is, at the test's end."""
    made = Gate()
    yield made
    made.open()


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """What a test leaves behind would show in another one."""
    yield
    uninstall()
    assert {(s.handover.error, s.handover.waiting) for s in _idle.steppers} <= {(None, None)}
