"""Fixtures of the tests of what is kept: data folders of an embedded Valkey."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.embedded import kill
from tests.support.valkey import embedded_pid


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder that is not there yet, under a short path. Whatever still runs in it is killed."""
    with tempfile.TemporaryDirectory(prefix="parley-test-") as folder:
        data = Path(folder).resolve() / "data"
        yield data
        if (pid := embedded_pid(data)) is not None:
            kill(pid)


@pytest.fixture
def long_data(data: Path) -> Iterator[Path]:
    """The same, too deep for a Unix socket."""
    folder = data / ("deep" * 30)
    yield folder
    if (pid := embedded_pid(folder)) is not None:
        kill(pid)
    record = folder / "valkey.where"
    if record.exists():
        shutil.rmtree(record.read_text(), ignore_errors=True)
