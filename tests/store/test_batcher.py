"""The batcher by itself, on a real Valkey: what becomes of calls when it ends."""

from __future__ import annotations

import pytest

from app.errors import StoreUnavailable
from app.store.batcher import Batcher
from app.store.owner import connection_to
from tests.support.valkey import ValkeyProcess


async def test_a_call_after_the_stop_fails_at_once(shared_valkey: ValkeyProcess) -> None:
    batcher = Batcher(connection_to(shared_valkey.url))
    batcher.start()
    assert await batcher.command("PING") == b"PONG"
    await batcher.stop()
    call = batcher.command("PING")
    assert call.done()  # nobody is left to settle it
    with pytest.raises(StoreUnavailable):
        await call
