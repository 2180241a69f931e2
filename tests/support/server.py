"""A real `parley serve` in processes of its own, to be killed, ended and started again on the same data.

All that its clients are sent, and all that it takes from them, is held against the document: see checked.py.
"""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.document import UNDOCUMENTED
from tests.support.process import free_port, group_members, is_running, tail, wait_until
from tests.support.valkey import embedded_pid

ROOT = Path(__file__).parents[2]
READY_WITHIN = 60.0
END_WITHIN = 30.0

CHECKED = ("tests.support.checked",)
"""What runs a server whose frames are held against the document."""


class ParleyServer:
    """`parley serve` on a free port, with its handlers, its data folder and its log in `folder`.

    `handlers` is a folder, or the modules to write into one: name to source. `env` is added to an environment
    without any PARLEY_* or REDIS_URL of whoever runs the tests; `program` is the module, and its first
    arguments: `app` itself where a test measures. Methods block until what they do is done; where the event loop
    must not notice, call `await asyncio.to_thread(server.restart)`.
    """

    def __init__(
        self,
        folder: Path,
        handlers: Path | Mapping[str, str] = ROOT / "handlers",
        *,
        env: Mapping[str, str] | None = None,
        args: tuple[str, ...] = (),
        root: Path = ROOT,
        program: tuple[str, ...] = CHECKED,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ws_url = f"ws://127.0.0.1:{self.port}/ws"
        self.data = folder / "data"
        self.log = folder / "server.log"
        self._handlers = handlers if isinstance(handlers, Path) else _written(folder / "handlers", handlers)
        self._env = {"PARLEY_DATA_DIR": str(self.data), "PARLEY_LOG_FORMAT": "json"} | dict(env or {})
        self._args = args
        self._root = root
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None
        self._group = 0

    @property
    def pid(self) -> int:
        """The process that was started: the parent of the workers, if there are any. Leads its group."""
        assert self._process is not None, "the server is not running"
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until `/readyz` says 200."""
        assert self._process is None, "the server is running already"
        process = self._process = self._spawn()
        self._group = process.pid
        try:
            wait_until(lambda: process.poll() is not None or self.is_ready(), "it is ready", READY_WITHIN)
            assert process.poll() is None, f"it ended with {process.returncode}"
        except AssertionError as error:
            self.kill_group()
            raise AssertionError(f"{error}\n{tail(self.log)}") from None
        return self

    def is_ready(self) -> bool:
        """Whether `/readyz` answers 200 now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill_group(self) -> None:
        """SIGKILL the server, if it runs, and its workers. An embedded Valkey has a group of its own and lives."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._group, signal.SIGKILL)
        self._wait_gone()

    def kill_store(self) -> None:
        """SIGKILL the embedded Valkey."""
        pid = self.store_pid
        assert pid is not None, "no embedded Valkey runs"
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not is_running(pid), "the embedded Valkey is gone")

    def terminate(self) -> None:
        """SIGTERM, then wait: it must exit with 0, leaving no worker, Valkey, socket or pid file."""
        assert self._process is not None, "the server is not running"
        self._process.terminate()
        status = self._wait_gone()
        assert status == 0, f"the server ended with {status}:\n{tail(self.log)}"
        assert self.store_pid is None, f"the embedded Valkey outlived its server:\n{tail(self.log)}"
        left = sorted(path.name for name in ("valkey.sock", "valkey.pid") for path in self.data.glob(name))
        assert not left, f"left in the data folder: {left}"

    def restart(self) -> Self:
        """Terminate it if it runs, and start it on the same data, port and log."""
        if self._process is not None:
            self.terminate()
        return self.start()

    def close(self) -> None:
        """End it if it runs, and the Valkey of a killed one. For the end of a test, whatever happened.

        Fails if a frame went through it that the published document does not know.
        """
        try:
            if self._process is not None:
                self.terminate()
        finally:
            if self._process is not None:
                self.kill_group()
            if self.store_pid is not None:
                self.kill_store()
        said = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        undocumented = [line for line in said if UNDOCUMENTED in line]
        assert not undocumented, f"{len(undocumented)}, first: {undocumented[0]}"

    @property
    def store_pid(self) -> int | None:
        """The embedded Valkey's process, if one runs."""
        return embedded_pid(self.data)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _spawn(self) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            *self._program,
            "serve",
            "--host",
            "127.0.0.1",
            "--port",
            str(self.port),
        ]
        inherited = {
            name: value for name, value in os.environ.items() if name != "REDIS_URL" and not name.startswith("PARLEY_")
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*command, "--handlers", str(self._handlers), *self._args],
                cwd=self._root,
                env=inherited | self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_gone(self) -> int:
        assert self._process is not None
        try:
            status = self._process.wait(END_WITHIN)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the server did not end in {END_WITHIN:g} s:\n{tail(self.log)}") from None
        wait_until(lambda: not group_members(self._group), f"no worker is left of group {self._group}", END_WITHIN)
        self._process = None
        return status


def _written(folder: Path, modules: Mapping[str, str]) -> Path:
    folder.mkdir(parents=True)
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    return folder
