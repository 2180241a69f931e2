"""Starts a peer: its server on the server's core, Parley's store on the other one."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, NamedTuple

import redis

from app.store.embedded import EmbeddedValkey
from bench.machine import ROOT, WORK, Cores, Server, free_port, load_core, python, server_core

AGENTS = ROOT / "bench" / "peers" / "agents"

UNBOUND = {
    "PARLEY_MAX_FRAMES_PER_SECOND": "1000000",
    "PARLEY_MAX_SESSIONS_PER_USER": "1000000",
    "PARLEY_LOG_LEVEL": "warning",
    "PARLEY_DRAIN_TIMEOUT": "0",
}
"""What keeps one client of a server from taking it for itself, as this one is meant to do."""


class Started(NamedTuple):
    """A peer that runs."""

    wire: str
    server: Server
    store: redis.Redis | None = None
    store_pid: int = 0

    @property
    def watch(self) -> dict[str, list[int]]:
        """The processes whose time is counted, by what they are."""
        return {"worker": self.server.pids()} | ({"store": [self.store_pid]} if self.store_pid else {})


Start = Callable[[], AbstractContextManager[Started]]


def _module(wire: str, module: str) -> Start:
    @contextlib.contextmanager
    def start() -> Iterator[Started]:
        port = free_port()
        with Server(python("-m", module, str(port)), port, WORK / "logs" / f"{wire}.log", server_core()) as server:
            yield Started(wire, server)

    return start


@contextlib.contextmanager
def chainlit() -> Iterator[Started]:
    """Chainlit's own command, in its own environment."""
    port = free_port()
    command = [
        *(str(WORK / "chainlit" / "bin" / "chainlit"), "run", str(ROOT / "bench" / "peers" / "chainlit_echo.py")),
        *("--headless", "--port", str(port)),
    ]
    # Its own settings are written to the folder it runs in, and PYTHONPATH would let it see this project's packages.
    with Server(command, port, WORK / "logs" / "chainlit.log", server_core(), {"PYTHONPATH": ""}) as server:
        yield Started("chainlit", server)


@contextlib.contextmanager
def valkey(appendfsync: Literal["always", "everysec"]) -> Iterator[tuple[str, int]]:
    """A store as the server's private one, on the core of the load generator: its URL and its process."""
    WORK.mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="store-", dir=WORK))
    store = EmbeddedValkey(folder, appendfsync)
    try:
        url = store.start()
        yield url, int((folder / "valkey.pid").read_text())
    finally:
        store.stop()
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def serving(url: str, cores: Cores, *, workers: int = 1, log: str = "parley") -> Iterator[Server]:
    """`parley serve` on a store."""
    port = free_port()
    command = python("-m", "app", "serve", "--port", str(port), "--workers", str(workers), "--handlers", str(AGENTS))
    env = {"REDIS_URL": url, "PARLEY_DATA_DIR": str(WORK / "data")} | UNBOUND
    with Server(command, port, WORK / "logs" / f"{log}.log", cores, env) as server:
        yield server


def _parley(
    appendfsync: Literal["always", "everysec"] = "always", *, cores: Cores | None = None, workers: int = 1
) -> Start:
    @contextlib.contextmanager
    def start() -> Iterator[Started]:
        with (
            valkey(appendfsync) as (url, pid),
            serving(url, cores or server_core(), workers=workers) as server,
            contextlib.closing(redis.Redis.from_url(url, decode_responses=True)) as store,
        ):
            yield Started("parley", server, store, pid)

    return start


PEERS: dict[str, Start] = {
    "floor": _module("floor", "bench.peers.floor"),
    "parley": _parley(),
    "socketio": _module("socketio", "bench.peers.socketio_echo"),
    "chainlit": chainlit,
    "parley fast": _parley("everysec"),
    "one worker": _parley(cores=server_core() | load_core()),
    "two workers": _parley(cores=server_core() | load_core(), workers=2),
}
"""Every peer by its name."""
