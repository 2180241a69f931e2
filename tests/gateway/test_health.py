"""The routes of those who watch a worker."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from tests.gateway.conftest import Settle
from tests.gateway.gate import Gate, running_gate
from tests.support.valkey import ValkeyProcess


async def ask(gate: Gate, path: str) -> httpx.Response:
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(f"http://127.0.0.1:{gate.port}{path}")


async def test_a_worker_that_serves(gate: Gate) -> None:
    assert (await ask(gate, "/healthz")).text == "ok"
    ready = await ask(gate, "/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "reasons": []})


async def test_a_draining_worker_is_alive_and_not_ready(gate: Gate) -> None:
    gate.health.draining = True
    ready = await ask(gate, "/readyz")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["draining"])
    assert (await ask(gate, "/healthz")).status_code == 200


async def test_a_worker_without_its_store_is_not_ready(
    valkey: ValkeyProcess, settle: Settle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.gateway.health.READY_WITHIN", 0.3)
    async with running_gate(valkey.url, settle()) as gate:
        await asyncio.to_thread(valkey.kill)
        ready = await ask(gate, "/readyz")
        assert ready.status_code == 503
        assert "store" in ready.json()["reasons"][0]


async def test_a_store_that_may_forget_is_not_ready(gate: Gate, shared_valkey: ValkeyProcess) -> None:
    async with shared_valkey.async_client() as redis:
        await redis.config_set("maxmemory-policy", "allkeys-lru")
        try:
            assert "noeviction" in (await ask(gate, "/readyz")).json()["reasons"][0]
        finally:
            await redis.config_set("maxmemory-policy", "noeviction")


async def test_metrics_count_connections_frames_refusals_and_closes(gate: Gate) -> None:
    def value(text: str, name: str) -> float:
        return next((float(line.split()[-1]) for line in text.splitlines() if line.startswith(f"{name} ")), 0.0)

    names = (
        "parley_connections",
        "parley_frames_in_total",
        "parley_frames_out_total",
        'parley_frames_refused_total{code="bad_json"}',
        'parley_closes_total{code="4409"}',
    )
    before = (await ask(gate, "/metrics")).text
    async with await gate.join(), await gate.join() as client:
        await client.send_text("{")
        await client.receive()
        await client.send("message", n=2, content="x")
        await client.closed()
        after = (await ask(gate, "/metrics")).text
    rises = [value(after, name) - value(before, name) for name in names]
    assert rises == [1, 4, 4, 1, 1]
