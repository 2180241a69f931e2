"""A worker with a proxy of its own on its way to the store."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.proxy import FaultProxy
from tests.support.server import ParleyServer

LEASE = 2
"""Seconds after which a worker that does not renew is taken for dead here."""


class Worker:
    """One server process and its way to the store."""

    def __init__(
        self,
        folder: Path,
        port: int,
        handlers: Mapping[str, str] | Path,
        program: tuple[str, ...],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.store = FaultProxy(("127.0.0.1", port))
        self._folder = folder
        self._handlers = handlers
        self._program = program
        self._env = {"PARLEY_LEASE_TTL": str(LEASE)} | dict(env or {})
        self.server: ParleyServer

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        await self.store.start()
        self._folder.mkdir()
        env = {"REDIS_URL": f"redis://127.0.0.1:{self.store.port}/0"} | self._env
        self.server = ParleyServer(self._folder, self._handlers, env=env, program=self._program)
        await asyncio.to_thread(self.server.start)

    async def stop(self) -> None:
        """End it, whatever state it is in."""
        if hasattr(self, "server"):
            await asyncio.to_thread(self.server.kill_group)
        await self.store.stop()

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        os.kill(self.server.pid, number)
