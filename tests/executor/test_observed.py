"""What is logged and counted."""

from __future__ import annotations

import asyncio

import pytest
import structlog
from prometheus_client.samples import Sample

from app import metrics
from app.errors import ExecutorBusy
from app.executor import install
from tests.executor.conftest import MakeExecutor
from tests.executor.gate import Gate, until

pytestmark = pytest.mark.timeout(30)


async def test_an_abandoned_call_that_is_slow_is_logged(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, slow_after=0.02)

    def slow() -> None:
        gate(None)

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(executor.run(slow, key="session-7"))
        await gate.entered()
        task.cancel()
        await until(lambda: bool(logs))
    [entry] = logs
    assert entry["event"] == "executor_call_abandoned"
    assert entry["function"].endswith("slow")
    assert entry["key"] == "session-7"
    assert entry["seconds"] >= 0


async def test_an_abandoned_call_that_is_quick_is_not_logged(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, slow_after=0.1)
    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(executor.run(gate, None))
        await gate.entered()
        task.cancel()
        gate.open()
        await until(lambda: executor.stats().abandoned == 0)
        await asyncio.sleep(0.15)
    assert logs == []


async def test_what_an_abandoned_call_raises_is_logged(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1)

    def failing() -> None:
        gate(None)
        raise LookupError("too late")

    with structlog.testing.capture_logs() as logs:
        task = asyncio.create_task(executor.run(failing))
        await gate.entered()
        task.cancel()
        gate.open()
        await until(lambda: bool(logs))
    assert logs[0]["event"] == "executor_call_failed"
    assert isinstance(logs[0]["exc_info"], LookupError)


def sample(name: str) -> float:
    samples: list[Sample] = [each for metric in metrics.REGISTRY.collect() for each in metric.samples]
    return next(each.value for each in samples if each.name == f"parley_executor_{name}")


async def test_metrics(make_executor: MakeExecutor, gate: Gate) -> None:
    executor = make_executor(1, queue=1)
    install(executor, asyncio.get_running_loop())
    names = ("abandons_total", "rejected_total", "wait_seconds_count", "run_seconds_count")
    before = [sample(name) for name in names]
    abandoned = asyncio.create_task(executor.run(gate, 0))
    await gate.entered()
    abandoned.cancel()
    queued = asyncio.create_task(executor.run(gate, 1))
    await until(lambda: executor.stats().queued == 1)
    with pytest.raises(ExecutorBusy):
        await executor.run(gate, 2)
    assert [sample(name) for name in ("running", "queued", "abandoned")] == [1, 1, 1]
    gate.open()
    await queued
    await until(
        lambda: [sample(name) for name in names] == [before[0] + 1, before[1] + 1, before[2] + 2, before[3] + 2]
    )
    assert [sample(name) for name in ("running", "queued", "abandoned")] == [0, 0, 0]
