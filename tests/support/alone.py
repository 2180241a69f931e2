"""Tests marked `alone` run while no other test does, in all processes of a run: what they measure counts."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

DOOR = Path(__file__)
ROOM = Path(__file__).with_name("__init__.py")
"""Two files to be locked, of which the tests that run in one checkout all know."""


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Wait until a test may run, and let others know that it does."""
    how = fcntl.LOCK_EX if alone else fcntl.LOCK_SH
    with ExitStack() as room:
        # who wants to be alone shuts the door first: else there would always be somebody in the room
        with _locked(DOOR, how):
            room.enter_context(_locked(ROOM, how))
        yield


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open() as file:
        fcntl.flock(file, how)
        yield
