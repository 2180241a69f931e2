"""That a test which runs alone waits for the others, and that those which come later wait for it."""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support import alone
from tests.support.process import wait_until


def is_shut(door: Path) -> bool:
    with door.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOOR", "ROOM"):
        (tmp_path / name).touch()
        monkeypatch.setattr(alone, name, tmp_path / name)
    order = []

    def run(name: str, *, is_alone: bool) -> None:
        with alone.turn(alone=is_alone):
            order.append(name)

    with ThreadPoolExecutor(2) as pool:
        with alone.turn(alone=False):
            run("beside it", is_alone=False)
            waiting = pool.submit(run, "alone", is_alone=True)
            wait_until(lambda: is_shut(tmp_path / "DOOR"), "the door is shut")
            later = pool.submit(run, "later", is_alone=False)
            order.append("the first goes")
        waiting.result()
        later.result()
    assert order == ["beside it", "the first goes", "alone", "later"]
