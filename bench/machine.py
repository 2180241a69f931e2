"""Processes of a benchmark, each on the core that is its own."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

ROOT = Path(__file__).parents[1]
WORK = ROOT / ".bench"
"""What a run makes: Chainlit's environment, data folders, logs."""

READY_WITHIN = 60.0
"""Seconds a server may take to listen."""

Cores = frozenset[int]


def server_core() -> Cores:
    """The core that a measured server has for itself."""
    return frozenset({min(os.sched_getaffinity(1))})


def load_core() -> Cores:
    """The core of everything else: the load generator, the store, and the program that asks for it all."""
    return frozenset({max(os.sched_getaffinity(1))})


def busy_with_others(seconds: float = 0.3) -> float:
    """How many cores are at work, over a while in which nothing of a benchmark is."""
    before = _idle_seconds()
    time.sleep(seconds)
    return max(0.0, (os.cpu_count() or 1) - (_idle_seconds() - before) / seconds)


def _idle_seconds() -> float:
    idle, waiting = Path("/proc/stat").read_text().split(maxsplit=6)[4:6]
    return (int(idle) + int(waiting)) / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Server:
    """A process that listens on a port, pinned to cores, its words in a log; ended with the block."""

    def __init__(
        self, command: Sequence[str], port: int, log: Path, cores: Cores, env: Mapping[str, str] | None = None
    ) -> None:
        self.port = port
        self._command = command
        self._log = log
        self._cores = cores
        self._env = {k: v for k, v in os.environ.items() if not k.startswith(("PARLEY_", "REDIS_URL"))}
        self._env |= {"PYTHONPATH": str(ROOT)} | dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started."""
        assert self._process is not None  # noqa: S101
        return self._process.pid

    def pids(self) -> list[int]:
        """It and its children."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def __enter__(self) -> Self:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._log.parent,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=self._settle_in,  # noqa: PLW1509  # no threads here
            )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """SIGKILL it and what it started: nobody waits for the orderly end of a server that is not used any more."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def terminate(self) -> None:
        """SIGTERM it."""
        os.kill(self.pid, signal.SIGTERM)

    def _settle_in(self) -> None:
        os.sched_setaffinity(0, self._cores)
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))

    def _wait(self) -> None:
        deadline = time.monotonic() + READY_WITHIN
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                    words = self._log.read_text(errors="replace")[-2000:]
                    raise RuntimeError(f"{self._command[:4]} does not listen: {words}") from None
                time.sleep(0.05)
            else:
                return


def python(*arguments: str) -> list[str]:
    """A command of this interpreter."""
    return [sys.executable, *arguments]
