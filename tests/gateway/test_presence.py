"""An agent that has a hook for it is told that a connection came and went; for any other nothing is done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from app.store import keys
from app.store.batcher import Argument
from app.store.redis import RedisStore
from tests.gateway.conftest import Gates
from tests.gateway.gate import Gate, fatal, until
from tests.support.valkey import ValkeyProcess
from tests.support.wire import Frame


async def waiting(gate: Gate, session: str) -> list[Frame]:
    return [orjson.loads(i.body) for i in await gate.store.inbox(session)]


async def test_a_connection_is_told_of_before_what_it_sends_and_when_it_goes(gate: Gate) -> None:
    client = await gate.connect()
    await client.send("hello", client="tab-one-1", agent="porter")
    await client.send("message", n=1, content="hi")
    ack = [await client.receive() for _ in range(2)][-1]
    session = client.frames[0]["session"]
    came, said = await waiting(gate, session)
    assert ack["queued"] == 1
    assert said["type"] == "message"
    assert came == {"type": "connect", "id": came["id"], "client": "tab-one-1"}
    await client.drop()
    await until(lambda: not gate.endpoint.connections, "the connection has gone")
    assert (await waiting(gate, session))[2:] == [came | {"type": "disconnect"}]
    assert [bool(i.turn) for i in await gate.store.inbox(session)] == [True] * 3


async def test_connections_alone_do_not_make_a_session_a_used_one(gate: Gate, shared_valkey: ValkeyProcess) -> None:
    async with shared_valkey.async_client() as redis:
        client = await gate.join(agent="porter")
        meta = keys.meta(client.welcome["session"])
        await client.send("ping")
        await client.receive()
        assert await redis.hget(meta, "inputs") == "1"
        assert await redis.hget(meta, "fresh") == "600000"
        await client.count("message", content="hi")
        await client.receive()
        assert await redis.hget(meta, "fresh") == ""
        await client.close()


async def test_an_agent_without_the_hooks_pays_no_store_call(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    run = RedisStore._run

    async def noted(
        self: RedisStore, name: str, session: str, args: Sequence[Argument], within: float | None = None
    ) -> Any:
        called.append(name)
        return await run(self, name, session, args, within)

    monkeypatch.setattr(RedisStore, "_run", noted)
    for agent, came, left in (("echo", [], []), ("bell", [], ["push"]), ("porter", ["push"], ["push"])):
        called.clear()
        client = await gate.join(agent=agent)
        await client.send("ping")
        await client.receive()
        assert called == ["create", "read", *came]
        (connection,) = gate.endpoint._connections
        assert (connection._presence is None) == (agent == "echo"), "an idle connection holds no more than it has to"
        await client.drop()
        await until(lambda: "listen" in called and not gate.endpoint.connections, "the connection has gone")
        assert sorted(called) == sorted(["create", "read", "listen", *came, *left])


async def test_a_full_inbox_costs_the_hook_and_not_the_connection(gates: Gates) -> None:
    gate = await gates.open(inbox_size=1)
    client = await gate.join(agent="porter")
    async with await gate.join(session=client.welcome["session"]) as second:
        assert len(await waiting(gate, client.welcome["session"])) == 1
        await second.send("ping")
        assert (await second.receive())["type"] == "pong"
    await client.close()


async def test_a_profile_is_one_of_those_offered_and_the_sessions_for_good(gate: Gate) -> None:
    async with await gate.connect() as client:
        await client.send("hello", client="tab-one-1", agent="porter", profile="unknown")
        words = await fatal(client, 4404, "no_such_profile")
        assert words == "the agent porter offers no profile unknown, only porter for anonymous, quiet"
    async with await gate.join(agent="porter", profile="quiet") as client:
        session = client.welcome["session"]
    for same in ({}, {"profile": "quiet"}):
        await (await gate.join(session=session, **same)).close()
    async with await gate.connect() as client:
        await client.send("hello", client="tab-one-1", session=session, profile="porter for anonymous")
        words = await fatal(client, 4404, "no_such_profile")
        assert words.startswith("the session has the profile quiet, not porter for anonymous")
    claim = await gate.store.claim(session)
    assert claim is not None
    assert claim.profile == "quiet"


async def test_without_a_choice_the_default_profile_is_the_sessions(gate: Gate) -> None:
    for agent, profile in (("porter", "porter for anonymous"), ("greeter", "")):
        async with await gate.join(agent=agent) as client:
            claim = await gate.store.claim(client.welcome["session"])
            assert claim is not None
            assert claim.profile == profile
