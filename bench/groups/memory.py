"""Memory of idle sessions, and how fast connections are taken in: in processes that served nothing but a few turns."""

from __future__ import annotations

import time

from bench.groups.group import Figures, Group, Options, running
from bench.groups.roundtrips import TEXT
from bench.usage import memory_bytes

SESSIONS = (1_000, 10_000)

CHAINLIT = (1_000,)
"""More would take it minutes."""

SETTLE = 2.0
"""Seconds after which nothing moves any more."""


def measure(peer: str, options: Options) -> Figures:
    """Attach so many, and weigh the worker before and after; then let each have one turn, and weigh it again."""
    for sessions in options.sessions or (CHAINLIT if peer == "chainlit" else SESSIONS):
        with running(peer) as (started, load):
            load.ask("open", count=50)
            load.ask("each", text=TEXT, times=10)
            load.ask("close")
            time.sleep(SETTLE)
            before = memory_bytes(started.server.pid)
            opened = load.ask("open", count=sessions)
            time.sleep(SETTLE)
            attached = memory_bytes(started.server.pid)
            of = f"sessions {sessions:,}"
            yield f"connections/s, {of}", sessions / opened["seconds"]
            yield f"KB a session attached, {of}", (attached - before) / sessions / 1024
            load.ask("each", text=TEXT)
            time.sleep(SETTLE)
            yield f"KB a session after a turn, {of}", (memory_bytes(started.server.pid) - before) / sessions / 1024


GROUP = Group("memory", "Idle sessions", ("floor", "parley", "socketio", "chainlit"), measure)
