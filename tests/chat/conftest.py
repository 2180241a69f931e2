"""The stage of tests/runtime, for tests of the authors' API; and one with a place for files."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.chat import files
from tests.runtime.conftest import Start, worker
from tests.runtime.stage import Worker

__all__ = ["worker"]


@pytest.fixture
async def keeping(worker: Start, tmp_path: Path) -> AsyncIterator[Start]:  # a fixture is asked for by name
    """Start workers that also keep files."""

    async def start(source: str = "", **settings: object) -> Worker:
        made = await worker(source, data_dir=tmp_path / "data", **settings)
        files.serve(made.store.files)
        return made

    yield start
    files.serve(None)
