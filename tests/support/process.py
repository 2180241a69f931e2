"""What the process helpers share: waiting for a condition, free ports, members of a process group."""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

POLL = 0.02

PORTS = range(20_000, 32_000)
"""Below those that Linux gives to whoever connects, or asks for any port: nobody is here by chance."""


def wait_until(condition: Callable[[], object], what: str, within: float = 30.0) -> None:
    """Return as soon as `condition()` is true; fail, naming `what`, if it is not after `within` seconds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not after {within:g} s: {what}"
        time.sleep(POLL)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on, and that nobody else is given by this until this process ends."""
    for port in random.sample(PORTS, len(PORTS)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0parley-test-port-{port}")
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            claim.close()
        else:
            claim.detach()  # it stays until this process ends
            return port
    raise AssertionError("no port is free")


def group_members(group: int) -> list[int]:
    """The processes of a group that still run; one that ended and that nobody has waited for does not."""
    return [pid for pid in _processes() if _group(pid) == group and is_running(pid)]


def is_running(pid: int) -> bool:
    """Whether a process of this number runs; one that ended and that nobody has waited for does not."""
    return _stat(pid)[0] not in {"", "Z", "X"}


def open_sockets(pid: int) -> int:
    """How many sockets a process holds."""
    return sum(map(_is_socket, Path(f"/proc/{pid}/fd").iterdir()))


def _is_socket(descriptor: Path) -> bool:
    try:
        return str(descriptor.readlink()).startswith("socket:")
    except FileNotFoundError:  # closed meanwhile
        return False


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _group(pid: int) -> int:
    return int(_stat(pid)[2])


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ["", "0", "0"]
    # The name before the last bracket may hold anything; state, parent and group come behind it.
    return text.rpartition(")")[2].split()


def tail(path: Path, lines: int = 30) -> str:
    """The last lines of a log, for the message of a failed assertion."""
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"
