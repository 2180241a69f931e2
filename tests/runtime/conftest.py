"""A stage for each test: load agents, start workers, stop them all at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from app.executor import BoundedExecutor, install, uninstall
from tests.runtime.stage import Worker, agents
from tests.support.valkey import ValkeyProcess

Start = Callable[..., Awaitable[Worker]]


@pytest.fixture
async def worker(shared_valkey: ValkeyProcess, tmp_path: Path) -> AsyncIterator[Start]:
    """Start workers with a source and settings; without a source, one more that has the same agent."""
    registries: list[Any] = []

    async def start(source: str = "", url: str = shared_valkey.url, **settings: Any) -> Worker:
        if source:
            registries.append(agents(tmp_path / "handlers", agent=source))
        made = Worker(url, registries[-1], **settings)
        stack.push_async_callback(made.stop)
        await made.start()
        return made

    executor = BoundedExecutor(4, 100, 10)
    install(executor, asyncio.get_running_loop())
    async with AsyncExitStack() as stack:
        yield start
    uninstall()
    executor.shutdown()
