"""That a port is given to one only, in this process and in all others."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.support import process
from tests.support.process import free_port
from tests.support.server import ROOT

ELSEWHERE = """
import sys
from tests.support import process

process.PORTS = range(*map(int, sys.argv[1:]))
print(process.free_port())
"""


def test_a_port_is_given_to_one_only(monkeypatch: pytest.MonkeyPatch) -> None:
    first = free_port()
    monkeypatch.setattr(process, "PORTS", range(first, first + 1))
    with pytest.raises(AssertionError, match="no port is free"):
        free_port()
    command = [sys.executable, "-c", ELSEWHERE, str(first), str(first + 1)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert "no port is free" in done.stderr


def test_a_port_on_which_somebody_listens_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setattr(process, "PORTS", range(port, port + 1))
        with pytest.raises(AssertionError, match="no port is free"):
            free_port()
    assert free_port() == port
