"""Fixtures of the gateway's tests."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import uvloop

from app.settings import Settings
from tests.gateway.gate import Gate, HeldStore, running_gate, running_store
from tests.support.valkey import ValkeyProcess

Settle = Callable[..., Settings]


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> Settle:
    """Settings with these values, and nothing of the environment the tests run in."""
    for name in os.environ:
        if name.startswith("PARLEY_") or name == "REDIS_URL":
            monkeypatch.delenv(name)

    def make(**values: Any) -> Settings:
        return Settings(_env_file=None, **values)

    return make


class Gates:
    """Opens gateways on one store; all are closed with the test."""

    def __init__(self, stack: AsyncExitStack, valkey: ValkeyProcess, settle: Settle) -> None:
        self._stack = stack
        self._valkey = valkey
        self._settle = settle

    async def open(self, *, sweep: float = 60.0, dead_peer_ms: int = 15_000, **settings: Any) -> Gate:
        running = running_gate(self._valkey.url, self._settle(**settings), sweep=sweep, dead_peer_ms=dead_peer_ms)
        return await self._stack.enter_async_context(running)

    async def store(self) -> HeldStore:
        """The store of another worker, which has no gateway."""
        return await self._stack.enter_async_context(running_store(self._valkey.url, self._settle()))


@pytest.fixture
async def gates(shared_valkey: ValkeyProcess, settle: Settle) -> AsyncIterator[Gates]:
    async with AsyncExitStack() as stack:
        yield Gates(stack, shared_valkey, settle)


@pytest.fixture
async def gate(gates: Gates) -> Gate:
    """One gateway with the default settings."""
    return await gates.open()


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that the server runs on: its transports are not asyncio's."""
    return {"uvloop": uvloop.new_event_loop}
