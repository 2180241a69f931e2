"""What is left of a run: the sessions as the store has them, and what the workers still hold."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Literal

import httpx
from redis import exceptions

from app.store import keys
from tests.chaos.cluster import Cluster, Node
from tests.chaos.journal import Entry, Frame, Hit, Resources, Stored
from tests.support.process import open_sockets


async def hits(cluster: Cluster, node: Node, sessions: Iterable[str]) -> list[Hit]:
    """Those of these sessions that a worker owns now."""
    names = list(sessions)
    while (found := await _owned(cluster, names)) is None:
        await asyncio.sleep(0.05)
    worker = node.name()
    return [
        Hit(session, run if live == "1" else "", int(attempt or 0))
        for session, (owner, run, attempt, live) in zip(names, found, strict=True)
        if owner == worker
    ]


async def _owned(cluster: Cluster, sessions: list[str]) -> list[list[str]] | None:
    """Of each session its owner, turn, attempt and whether that runs; None while another fault has the store away."""
    async with cluster.primary.async_client() as store:
        direct: Any = store.pipeline(transaction=False)
        for session in sessions:
            direct.hmget(keys.meta(session), "owner", "run", "attempt", "live")
        with suppress(exceptions.ConnectionError):
            found: list[list[str]] = await direct.execute()
            return found
    return None


async def resources(cluster: Cluster, when: Literal["before", "after"]) -> list[Resources]:
    """What each worker holds now."""
    async with cluster.primary.async_client() as store:
        channels = len(await store.pubsub_channels())
    return [await asyncio.to_thread(_resources, node, when, channels) for node in cluster.nodes]


def _resources(node: Node, when: Literal["before", "after"], channels: int) -> Resources:
    # before the metrics are asked for: a worker may close the connection for that a little later than we do
    sockets = open_sockets(node.server.pid)
    text = httpx.get(f"{node.server.url}/metrics", timeout=5).text
    metrics = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return Resources(
        when=when,
        worker=node.number,
        sockets=sockets,
        store=node.store.count(),
        channels=channels,
        tasks=int(float(metrics["parley_tasks"])),
        sessions=int(float(metrics["parley_sessions_running"])),
    )


async def heads(cluster: Cluster, sessions: Iterable[str]) -> dict[str, Frame]:
    """Where the logs of these sessions end."""
    names = list(sessions)
    async with cluster.primary.async_client() as store:
        direct: Any = store.pipeline(transaction=False)
        for session in names:
            direct.hmget(keys.meta(session), "seq", "mark")
        found = await direct.execute()
    return {
        session: {"seq": int(seq or 0), "mark": mark or ""} for session, (seq, mark) in zip(names, found, strict=True)
    }


async def unfinished(cluster: Cluster, sessions: Iterable[str]) -> list[str]:
    """Those of these sessions in which something is not done, be it a turn that its tabs saw end before it was lost."""
    names = list(sessions)
    async with cluster.primary.async_client() as store:
        direct: Any = store.pipeline(transaction=False)
        for session in names:
            direct.hmget(keys.meta(session), "run", "owner")
            direct.xlen(keys.inputs(session))
        found = await direct.execute()
    return [name for name, busy, left in zip(names, found[::2], found[1::2], strict=True) if any(busy) or left]


async def stored(cluster: Cluster, sessions: Iterable[str]) -> list[Stored]:
    """What the store has of these sessions."""
    async with cluster.primary.async_client() as store:
        return [await _stored(store, session) for session in sessions]


async def _stored(store: Any, session: str) -> Stored:
    meta = keys.meta(session)

    def key(kind: str) -> str:
        return meta.replace(":m:", f":{kind}:", 1)

    numbers: dict[str, str] = await store.hgetall(key("d"))
    return Stored(
        session=session,
        meta=await store.hgetall(meta),
        log=[
            Entry(int(fields["s"]), int(place.partition("-")[0]), fields["m"], fields["f"])
            for place, fields in await store.xrange(key("e"))
        ],
        inbox=[fields["k"] for _, fields in await store.xrange(key("i"))],
        asks={name: json.loads(text) for name, text in (await store.hgetall(key("q"))).items()},
        state={name: json.loads(text[1:]) for name, text in (await store.hgetall(key("u"))).items()},
        numbers={name: int(text.split()[0]) for name, text in numbers.items() if "/" not in name and name[0] != "#"},
        listeners=sorted(await store.smembers(key("l"))),
    )
