"""A few workers, each with a proxy of its own on its way to one store: the stage of one directed fault."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from tests.chaos.proxy import FaultProxy
from tests.support.server import ParleyServer
from tests.support.valkey import ValkeyProcess
from tests.support.wire import WireClient

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
        self._clients: list[WireClient] = []
        self.server: ParleyServer

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        await self.store.start()
        self._folder.mkdir()
        env = {"REDIS_URL": f"redis://127.0.0.1:{self.store.port}/0"} | self._env
        self.server = ParleyServer(self._folder, self._handlers, env=env, program=self._program)
        await asyncio.to_thread(self.server.start)

    async def stop(self) -> None:
        """End it, whatever state it is in, and its clients."""
        await asyncio.gather(*(client.drop() for client in self._clients))
        if hasattr(self, "server"):
            await asyncio.to_thread(self.server.kill_group)
        await self.store.stop()

    def signal(self, number: signal.Signals) -> None:
        """Send its process a signal."""
        os.kill(self.server.pid, number)

    async def connect(self, **hello: object) -> WireClient:
        """A client of this worker that has been welcomed; it is gone when the worker is stopped."""
        client = await WireClient.connect(self.server.ws_url)
        self._clients.append(client)
        await client.hello(**hello)
        return client


class Stand:
    """Workers of one program and their store; an async context."""

    def __init__(
        self, folder: Path, handlers: Mapping[str, str], *, workers: int = 2, program: tuple[str, ...] = ("app",)
    ) -> None:
        self.valkey = ValkeyProcess(folder / "store")
        self._of_worker = (handlers, program)
        self._folders = [folder / f"worker{number}" for number in range(workers)]
        self.workers: list[Worker] = []

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.valkey.start)
        self.workers = [Worker(folder, self.valkey.port, *self._of_worker) for folder in self._folders]
        try:
            async with asyncio.TaskGroup() as group:
                for worker in self.workers:
                    group.create_task(worker.start())
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(worker.stop() for worker in self.workers))
        await asyncio.to_thread(self.valkey.stop)

    async def lose(self, written: int) -> None:
        """Kill the store, cut its file back to what it `written()` at some moment, and start it again."""
        await asyncio.to_thread(self.valkey.lose, written)
