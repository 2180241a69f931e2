"""The stage of tests/runtime, for tests of the authors' API."""

from __future__ import annotations

from tests.runtime.conftest import worker

__all__ = ["worker"]
