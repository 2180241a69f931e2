"""A private Valkey that dies under its server is started again, on the same data."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from redis import Redis

from app.store.embedded import EmbeddedValkey
from app.store.keeper import Keeper
from tests.support.process import wait_until
from tests.support.valkey import embedded_pid


def test_a_killed_valkey_comes_back_with_its_data(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path)
    url = valkey.start()
    try:
        with Keeper(valkey):
            first = embedded_pid(tmp_path)
            assert first is not None
            with Redis.from_url(url) as client:
                client.set("kept", "yes")
                os.kill(first, signal.SIGKILL)
                wait_until(lambda: embedded_pid(tmp_path) not in {None, first}, "another Valkey runs")
                wait_until((tmp_path / "valkey.sock").exists, "it listens")
            with Redis.from_url(url) as client:
                assert client.get("kept") == b"yes"
    finally:
        valkey.stop()
    assert embedded_pid(tmp_path) is None
