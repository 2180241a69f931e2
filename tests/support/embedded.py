"""What the tests of the embedded Valkey do: own one from another process, orphan it, look into it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from redis import Redis

from tests.support.process import is_running, wait_until
from tests.support.server import ROOT

OWNER = """
import signal
import sys
from pathlib import Path
from app.store.embedded import EmbeddedValkey

# a shell has what it runs in the background ignore Ctrl-C, and so all its children
signal.signal(signal.SIGINT, signal.default_int_handler)
valkey = EmbeddedValkey(Path(sys.argv[1]))
try:
    print(valkey.start(), flush=True)
    sys.stdin.read()
except KeyboardInterrupt:
    print("draining", flush=True)
    sys.stdin.read()
valkey.stop()
"""


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), f"{pid} is gone")


@contextmanager
def client_of(url: str) -> Iterator[Redis]:
    with Redis.from_url(url, decode_responses=True) as client:
        yield client


def info(url: str) -> dict[str, Any]:
    with client_of(url) as client:
        return client.info()


def pid_of(url: str) -> int:
    pid: int = info(url)["process_id"]
    return pid


def socket_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def line_of(owner: subprocess.Popen[str]) -> str:
    assert owner.stdout is not None
    return owner.stdout.readline().strip()


@contextmanager
def owner(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that uses the folder, and its URL, empty if it could not start."""
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        yield process, line_of(process)
        process.kill()


def orphan(data: Path) -> str:
    """Leave a Valkey whose owner was killed, with a key in it."""
    with owner(data) as (process, url):
        with client_of(url) as client:
            client.set("kept", "yes")
        os.killpg(process.pid, signal.SIGKILL)
    return url


def kept(url: str) -> str | None:
    with client_of(url) as client:
        value = client.get("kept")
    assert not isinstance(value, bytes)
    return value


@contextmanager
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A child that keeps every descriptor it can inherit."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False) as process:
        yield process
        process.kill()
