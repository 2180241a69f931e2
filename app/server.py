"""Runs servers: the socket, the private store, one worker in this process or several beside it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import NamedTuple

import uvicorn
import watchfiles
from pydantic import SecretStr

from app import logs
from app.errors import ConfigError
from app.main import Worker, create_app, worker_name
from app.runtime.loading import load
from app.settings import Settings
from app.sockets import LeanProtocol
from app.store.embedded import EmbeddedValkey
from app.store.keeper import Keeper
from app.store.probe import check_store

log = logs.get(__name__)

CONFIG_EXIT = 3
"""The exit code of a worker that cannot start; it would fail again, so it is not replaced."""

DEAD_PEER_MS = 12_000
"""Milliseconds that sent data may go unacknowledged, or unread, before the kernel gives a socket up.

A client that does not read is sent away after `send_timeout`, but its socket ends only with what is on its way to it.
"""

STOP_WITHIN = 10.0
"""Seconds beyond `drain_timeout` that a stopping worker may take before it is killed."""


def serve(settings: Settings, *, reload: bool = False, skip_broken: bool = False) -> None:
    """Serve until SIGINT or SIGTERM. Raises: ConfigError."""
    signal.signal(signal.SIGTERM, _interrupt)
    with _listening(settings) as sock, _store(settings) as url:
        check_store(url)
        settings = settings.model_copy(update={"redis_url": SecretStr(url), "port": sock.getsockname()[1]})
        log.info("serving", url=f"http://{settings.host}:{settings.port}", workers=settings.workers)
        with contextlib.suppress(KeyboardInterrupt):
            if reload:
                load(settings.handlers, skip_broken=True)
                watchfiles.run_process(
                    settings.handlers,
                    target=_child,
                    args=(settings, sock, True),
                    sigint_timeout=int(settings.drain_timeout + STOP_WITHIN),
                )
            elif settings.workers == 1:
                run_worker(settings, sock, worker_name(), skip_broken=skip_broken)
            else:
                load(settings.handlers, skip_broken=skip_broken)
                _Workers(settings, sock, skip_broken=skip_broken).run()


def run_worker(
    settings: Settings, sock: socket.socket, name: str, *, skip_broken: bool, line: Connection | None = None
) -> None:
    """Run one worker, of this name, in this process; `line` tells it which other workers died. Raises: ConfigError."""
    registry = load(settings.handlers, skip_broken=skip_broken)
    app = create_app(settings, registry, name)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http="httptools",
        ws=LeanProtocol,
        ws_max_size=settings.max_frame_bytes,
        ws_per_message_deflate=False,  # 40 to 100 KB a connection
        ws_ping_interval=settings.idle_timeout / 2,
        ws_ping_timeout=settings.idle_timeout / 2,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="on",
        backlog=4096,
        timeout_graceful_shutdown=5,
    )
    _spare_the_loop()
    _Server(config, app.state.worker, line).run([sock])


def _spare_the_loop() -> None:
    """Keep the garbage collector from walking all that was imported, and all connections, again and again.

    A full collection with 1,000 connections stopped the loop for 150 ms; what is made for a turn is freed by its
    reference count, and cycles among it are found by the younger generations.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


class _Server(uvicorn.Server):
    """A server whose worker hears of the others' deaths, and drains before uvicorn closes every socket."""

    def __init__(self, config: uvicorn.Config, worker: Worker, line: Connection | None) -> None:
        super().__init__(config)
        self._worker = worker
        self._line = line

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Do as uvicorn does, and listen to the line."""
        await super().startup(sockets)
        if self._line is not None:
            asyncio.get_running_loop().add_reader(self._line.fileno(), self._hear, self._line)

    def _hear(self, line: Connection) -> None:
        try:
            self._worker.supervisor.bury(line.recv_bytes().decode())
        except EOFError:  # the parent died; another thread sees to it
            asyncio.get_running_loop().remove_reader(line.fileno())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, then do as uvicorn does. A second Ctrl-C ends the draining."""
        drain = asyncio.create_task(self._worker.drain())
        while not drain.done() and not self.force_exit:
            await asyncio.wait({drain}, timeout=0.1)
        drain.cancel()
        await asyncio.gather(drain, return_exceptions=True)
        await super().shutdown(sockets)


@contextlib.contextmanager
def _store(settings: Settings) -> Iterator[str]:
    """The store's address; a private Valkey that ends with the block if none is set."""
    if settings.redis_url is not None:
        yield settings.redis_url.get_secret_value()
        return
    valkey = EmbeddedValkey(settings.data_dir)
    url = valkey.start()
    try:
        with Keeper(valkey):
            yield url
    finally:
        valkey.stop()


def _listening(settings: Settings) -> socket.socket:
    """The bound socket, so that a taken port is found out before anything else is started. Raises: ConfigError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_MS)
        sock.bind((settings.host, settings.port))
        sock.listen(4096)
    except OSError as error:
        sock.close()
        raise ConfigError(_cannot_listen(settings, error)) from None
    return sock


def _cannot_listen(settings: Settings, error: OSError) -> str:
    at = f"{settings.host}:{settings.port}"
    if error.errno == errno.EADDRINUSE:
        return f"PARLEY_PORT: {at} is in use by another program: stop it, or take another port with --port"
    return f"PARLEY_HOST: cannot listen on {at}: {error.strerror or error}"


class _Member(NamedTuple):
    """A worker process, its name in the store, and the line on which it is told of the others' deaths."""

    name: str
    process: SpawnProcess
    line: Connection


class _Workers:
    """Keeps several worker processes on one socket; a dead one is replaced at once, and the others take it over."""

    def __init__(self, settings: Settings, sock: socket.socket, *, skip_broken: bool) -> None:
        self._settings = settings
        self._args = (settings, sock, skip_broken)
        self._members: list[_Member] = []

    def run(self) -> None:
        """Run until SIGINT or SIGTERM. Raises: ConfigError if a worker cannot start."""
        try:
            for _ in range(self._settings.workers):
                self._start()
            while True:
                multiprocessing.connection.wait([member.process.sentinel for member in self._members])
                self._replace([member for member in self._members if not member.process.is_alive()])
        finally:
            self._stop()

    def _start(self) -> None:
        name = worker_name()
        heard, line = multiprocessing.Pipe(duplex=False)
        args = (*self._args, name, heard)
        process = multiprocessing.get_context("spawn").Process(target=_child, args=args)
        self._members.append(_Member(name, process, line))  # first: it is to be ended, whatever interrupts us
        process.start()
        heard.close()

    def _replace(self, dead: list[_Member]) -> None:
        """Tell the living first: a process takes its time to start, and its sessions would wait."""
        self._members = [member for member in self._members if member not in dead]
        for member in dead:
            self._announce(member.name)
            log.warning("worker_died", worker=member.name, pid=member.process.pid, exit_code=member.process.exitcode)
        for member in dead:
            member.line.close()
            if member.process.exitcode == CONFIG_EXIT:
                raise ConfigError("a worker cannot start; its own words are above")
            self._start()

    def _announce(self, name: str) -> None:
        for member in self._members:
            with contextlib.suppress(OSError):  # it is dead as well
                member.line.send_bytes(name.encode())

    def _stop(self) -> None:
        started = [member.process for member in self._members if member.process.pid is not None]
        for process in started:
            process.terminate()
        for process in started:
            process.join(self._settings.drain_timeout + STOP_WITHIN)
            if process.is_alive():
                process.kill()


def _child(
    settings: Settings,
    sock: socket.socket,
    skip_broken: bool,  # noqa: FBT001  # pickled positionally
    name: str = "",
    line: Connection | None = None,
) -> None:
    """A worker process: ends with its parent, and tells by its exit code that it cannot start."""
    logs.configure(settings.log_level, settings.log_format)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            run_worker(settings, sock, name or worker_name(), skip_broken=skip_broken, line=line)
    except ConfigError as error:
        log.critical("worker_cannot_start", reason=str(error))
        raise SystemExit(CONFIG_EXIT) from None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _interrupt(_signal: int, _frame: object) -> None:
    """SIGTERM ends the process the way Ctrl-C does, through every `finally`."""
    raise KeyboardInterrupt
