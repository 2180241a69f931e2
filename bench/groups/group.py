"""What a group of figures is, and what all groups measure with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from bench.generator import Generator
from bench.peers.starting import PEERS, Started

Figures = Iterator[tuple[str, float | None]]
"""Names of figures with their values, one by one as they are measured; None where there is none."""


class Options(NamedTuple):
    """How long and how often."""

    rounds: int
    seconds: float
    sessions: tuple[int, ...]


class Group(NamedTuple):
    """Figures that are measured together. `measure` does one peer's part of one round, in fresh processes."""

    name: str
    title: str
    peers: tuple[str, ...]
    measure: Callable[[str, Options], Figures]


@contextlib.contextmanager
def running(peer: str) -> Iterator[tuple[Started, Generator]]:
    """A peer that was just started, and a load generator for it."""
    with PEERS[peer]() as started, Generator(started.wire, started.server.port) as load:
        yield started, load


def micros(found: dict[str, Any], process: str, rate: float) -> float | None:
    """Processor time of a process for one of what there were so many of a second, in microseconds.

    None if the peer has no such process.
    """
    used = found["cpu"].get(process)
    return None if used is None or not rate else used / found["seconds"] / rate * 1e6
