"""A resume storm: 2,000 connections are cut, and all come back at once for the turn that they missed."""

from __future__ import annotations

from bench.groups.group import Figures, Group, Options, running
from bench.groups.roundtrips import TEXT

SESSIONS = 2_000


def measure(peer: str, options: Options) -> Figures:
    """Each has two turns, and comes back with its position after the first."""
    sessions = options.sessions[0] if options.sessions else SESSIONS
    with running(peer) as (_, load):
        load.ask("open", count=sessions)
        load.ask("each", text=TEXT)
        load.ask("remember")
        load.ask("each", text=TEXT)
        load.ask("cut")
        found = load.ask("resume", parallel=sessions)
        yield "seconds until all are back", found["seconds"]
        yield "back a second", sessions / found["seconds"]
        yield "p50 ms", found["connect_p50"]
        yield "p99 ms", found["connect_p99"]


GROUP = Group("storm", "A resume storm of 2,000", ("floor", "parley", "parley fast"), measure)
