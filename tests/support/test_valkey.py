"""That the Valkey of the tests does what tests rely on."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis.exceptions import AuthenticationError, ConnectionError, OutOfMemoryError  # noqa: A004

from tests.support.process import is_running
from tests.support.valkey import ValkeyProcess


def test_data_survives_kill_and_restart_at_the_same_url(valkey: ValkeyProcess) -> None:
    url, pid = valkey.url, valkey.pid
    with valkey.client() as client:
        client.set("kept", "yes")
        valkey.kill()
        assert not is_running(pid)
        with pytest.raises(ConnectionError):
            client.get("kept")
        valkey.restart()
        assert client.get("kept") == "yes"
        valkey.restart()
        assert client.get("kept") == "yes"
    assert valkey.url == url


def test_without_append_only_nothing_survives(tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path, appendonly=False) as valkey, valkey.client() as client:
        client.set("kept", "no")
        valkey.restart()
        assert client.get("kept") is None


async def test_unix_socket_and_password_from_sync_and_async(tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path, unix=True, password="p@ss/wörd") as valkey:
        with valkey.client() as client:
            assert client.ping()
        async with valkey.async_client() as async_client:
            assert await async_client.get("nothing") is None
        valkey._password = "wrong"
        with valkey.client() as client, pytest.raises(AuthenticationError):
            client.ping()


def test_a_limit_of_memory_and_a_policy(tmp_path: Path) -> None:
    full = ValkeyProcess(tmp_path / "full", maxmemory="100kb")
    # An empty one takes more.
    with full as valkey, valkey.client() as client, pytest.raises(OutOfMemoryError):
        client.set("any", "x")
    with ValkeyProcess(tmp_path / "lru", policy="allkeys-lru") as valkey, valkey.client() as client:
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "allkeys-lru"}


@pytest.mark.parametrize("turn", [1, 2])
def test_the_shared_one_is_empty_each_time(shared_valkey: ValkeyProcess, turn: int) -> None:
    with shared_valkey.client() as client:
        assert client.dbsize() == 0
        client.set("left", turn)
