"""A real Valkey process for a test, which can be killed, restarted on the same data, and configured badly."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.store.embedded import valkey_binary
from tests.support.process import free_port, is_running, tail, wait_until


class ValkeyProcess:
    """A Valkey on a free port of 127.0.0.1, or on a Unix socket with `unix=True`, with its files in `folder`.

    Every method returns when it is done: the server answers, or its process is gone. They block for some
    milliseconds; where the event loop must not notice, call `await asyncio.to_thread(valkey.restart)`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        unix: bool = False,
        appendonly: bool = True,
        appendfsync: str = "always",
        maxmemory: str = "0",
        policy: str = "noeviction",
        password: str | None = None,
    ) -> None:
        self.folder = folder
        self.log = folder / "valkey.log"
        self._password = password
        self._sockets = tempfile.TemporaryDirectory(prefix="valkey-") if unix else None
        self._port = 0 if unix else free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._settings = {
            "dir": str(folder),
            "appendonly": "yes" if appendonly else "no",
            "appendfsync": appendfsync,
            "save": "",
            "maxmemory": maxmemory,
            "maxmemory-policy": policy,
            "requirepass": password or "",
        }

    @property
    def url(self) -> str:
        """The URL with the password, as REDIS_URL takes it. The same after a restart."""
        secret = f":{quote(self._password, safe='')}@" if self._password else ""
        if self._sockets:
            return f"unix://{secret}{self._socket}?db=0"
        return f"redis://{secret}127.0.0.1:{self._port}/0"

    @property
    def port(self) -> int:
        """Its TCP port, the same after a restart."""
        assert self._port, "it is on a Unix socket"
        return self._port

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._spawn()
        if not self._comes_up():
            self._reap()
            raise AssertionError(f"Valkey ended at start:\n{tail(self.log)}")
        return self

    def kill(self) -> None:
        """SIGKILL, as a crash or the out-of-memory killer would."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, as an orderly shutdown. Does nothing if it does not run."""
        self._signal(signal.SIGTERM)

    def restart(self) -> None:
        """Stop it if it runs, and start it on the same data at the same URL."""
        self.stop()
        self.start()

    def written(self) -> int:
        """Bytes that it has on disk: what `lose` takes to go back to this moment."""
        return self._file.stat().st_size

    def lose(self, written: int) -> None:
        """Kill it, cut its file back, and start it again."""
        self.kill()
        os.truncate(self._file, written)
        self.start()

    def client(self) -> redis.Redis:
        """A client that does not retry; to be closed by the test."""
        return redis.Redis.from_url(self.url, decode_responses=True, retry=Retry(NoBackoff(), 0))

    def async_client(self) -> redis.asyncio.Redis:
        """The same for a running loop."""
        retry = redis.asyncio.retry.Retry(NoBackoff(), 0)
        return redis.asyncio.Redis.from_url(self.url, decode_responses=True, retry=retry)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._sockets:
            self._sockets.cleanup()

    @property
    def _file(self) -> Path:
        return max((self.folder / "appendonlydir").glob("*.incr.aof"))

    @property
    def _socket(self) -> Path:
        assert self._sockets is not None
        return Path(self._sockets.name) / "valkey.sock"

    def _spawn(self) -> None:
        where = (
            {"port": "0", "unixsocket": str(self._socket), "unixsocketperm": "700"}
            if self._sockets
            else {"port": str(self._port), "bind": "127.0.0.1"}
        )
        options = [part for name, value in (where | self._settings).items() for part in (f"--{name}", value)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([valkey_binary(), *options], stdout=log, stderr=log)

    def _comes_up(self) -> bool:
        process = self._process
        assert process is not None
        with self.client() as client:
            wait_until(lambda: process.poll() is not None or _answers(client), "Valkey answers")
        return process.poll() is None

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._reap()

    def _reap(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def embedded_pid(data: Path) -> int | None:
    """The process of the embedded Valkey in a data folder, if it runs and is still that one."""
    file = data / "valkey.pid"
    if not file.exists():
        return None
    pid = int(file.read_text())
    ours = is_running(pid) and b"valkey-server" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return pid if ours else None


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
