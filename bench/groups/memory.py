"""Memory of idle sessions, and how fast connections are taken in: in processes that served nothing but a few turns."""

from __future__ import annotations

import time

from bench.groups.group import Figures, Group, Options, running
from bench.groups.roundtrips import TEXT
from bench.peers.starting import Started
from bench.usage import memory_bytes

SESSIONS = (1_000, 10_000)

CHAINLIT = (1_000,)
"""More would take it minutes."""

SETTLE = 2.0
"""Seconds after which nothing moves any more."""


def measure(peer: str, options: Options) -> Figures:
    """Attach so many, and weigh before and after; then let each have one turn, and weigh again."""
    for sessions in options.sessions or (CHAINLIT if peer == "chainlit" else SESSIONS):
        with running(peer) as (started, load):
            load.ask("open", count=50)
            load.ask("each", text=TEXT, times=10)
            load.ask("close")
            before = _weigh(started)
            opened = load.ask("open", count=sessions)
            yield f"connections/s, sessions {sessions:,}", sessions / opened["seconds"]
            yield from _grown(before, _weigh(started), sessions, "attached")
            load.ask("each", text=TEXT)
            yield from _grown(before, _weigh(started), sessions, "after a turn")


def _weigh(started: Started) -> dict[str, float]:
    time.sleep(SETTLE)
    weights = {"": float(memory_bytes(started.server.pid))}
    if started.store is not None:
        weights["store "] = float(started.store.info("memory")["used_memory"])
    return weights


def _grown(before: dict[str, float], after: dict[str, float], sessions: int, when: str) -> Figures:
    for what, weight in after.items():
        yield f"{what}KB a session {when}, sessions {sessions:,}", (weight - before[what]) / sessions / 1024


GROUP = Group("memory", "Idle sessions", ("floor", "parley", "socketio", "chainlit"), measure)
