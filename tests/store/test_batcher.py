"""The batcher by itself, on a real Valkey: what becomes of calls when it ends, or the store forgets its scripts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from hashlib import sha1
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.metrics import STORE_PIPELINES
from app.store.batcher import ENOUGH, Batcher
from app.store.link import Script
from app.store.owner import connection_to
from tests.support.valkey import ValkeyProcess

TEXT = "#!lua\nreturn redis.call('RPUSH', KEYS[1], ARGV[1])"
PUSH = Script("push", TEXT, sha1(TEXT.encode(), usedforsecurity=False).hexdigest())
SLOW = "for _ = 1, 5000000 do end"


@pytest.fixture
async def batcher(tmp_path: Path) -> AsyncIterator[Batcher]:
    with ValkeyProcess(tmp_path / "store") as valkey:
        made = Batcher(connection_to(valkey.url))
        made.start()
        await made.command("PING")
        yield made
        await made.stop()


async def test_a_call_after_the_stop_fails_at_once(batcher: Batcher) -> None:
    await batcher.stop()
    call = batcher.command("PING")
    assert call.done()  # nobody is left to settle it
    with pytest.raises(StoreUnavailable):
        await call


async def test_forgotten_scripts_run_in_the_order_of_their_calls(batcher: Batcher) -> None:
    calls = [batcher.run(PUSH, ["list"], ["0"])]
    await asyncio.sleep(0)  # it goes out by itself, and the next two behind it
    calls += [batcher.command("EVAL", SLOW, 0), batcher.run(PUSH, ["list"], ["1"])]
    await asyncio.sleep(0)
    calls.append(batcher.run(PUSH, ["list"], ["2"]))
    await asyncio.gather(*calls)
    assert await batcher.command("LRANGE", "list", 0, -1) == [b"0", b"1", b"2"]


async def test_calls_that_are_enough_for_a_pipeline_go_at_once_and_the_rest_behind_them(batcher: Batcher) -> None:
    await batcher.run(PUSH, ["list"], ["first"])
    before = STORE_PIPELINES.count
    calls = [batcher.run(PUSH, ["list"], [str(k)]) for k in range(ENOUGH + 4)]
    assert STORE_PIPELINES.count == before + 1
    assert await asyncio.gather(*calls) == list(range(2, ENOUGH + 6))
    assert STORE_PIPELINES.count == before + 2


async def test_what_is_made_of_an_answer_is_made_though_nobody_waits(batcher: Batcher) -> None:
    made: list[int] = []
    call = batcher.run(PUSH, ["list"], ["0"], then=made.append)
    call.cancel()
    assert await batcher.run(PUSH, ["list"], ["1"], then=str) == "2"
    assert made == [1]


async def test_what_fails_of_an_answer_fails_its_own_call_alone(batcher: Batcher) -> None:
    def fail(_: int) -> None:
        raise LookupError

    calls = [batcher.run(PUSH, ["list"], ["0"], then=fail), batcher.run(PUSH, ["list"], ["1"])]
    with pytest.raises(LookupError):
        await calls[0]
    assert await calls[1] == 2


async def test_a_call_is_given_up_whose_script_cannot_be_loaded(batcher: Batcher) -> None:
    await batcher.command("ACL", "SETUSER", "default", "-script|load")
    with pytest.raises(StoreUnavailable):
        await batcher.run(PUSH, ["list"], ["0"], within=0.1)
