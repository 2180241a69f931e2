"""The load generator's process, as the program that measures sees it."""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any, Self

from bench.machine import ROOT, load_core, python


class LoadError(Exception):
    """A connection was lost, or a turn did not end."""


class Generator:
    """Clients of one peer, in a process of their own on the load generator's core; ended with the block."""

    def __init__(self, wire: str, port: int) -> None:
        self._process = subprocess.Popen(
            python("-m", "bench.load", wire, str(port)),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, load_core()),  # noqa: PLW1509  # no threads here
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, do: str, **order: Any) -> dict[str, Any]:
        """Give one order and wait for its answer. Raises: LoadError."""
        return self.wait(self.begin(do, **order))

    def begin(self, do: str, **order: Any) -> str:
        """Give one order; its answer is to be waited for."""
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.write(json.dumps({"do": do, **order}).encode() + b"\n")
        self._process.stdin.flush()
        return do

    def wait(self, do: str) -> dict[str, Any]:
        """The answer to the order. Raises: LoadError."""
        assert self._process.stdout is not None  # noqa: S101
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the load generator ended"}
        if "error" in answer:
            raise LoadError(f"{do}: {answer['error']}")
        return answer
