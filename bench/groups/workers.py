"""Two workers against one, both free to use both cores; the load generator and the store keep theirs."""

from __future__ import annotations

from bench.groups.group import Figures, Group, Options, micros, running
from bench.groups.roundtrips import TEXT

SESSIONS = (50, 500)


def measure(peer: str, options: Options) -> Figures:
    """Round trips, as in roundtrips.py; the workers' time is that of all of them."""
    with running(peer) as (started, load):
        for sessions in options.sessions or SESSIONS:
            load.ask("close")
            load.ask("open", count=sessions)
            found = load.ask("turns", text=TEXT, clients=sessions, seconds=options.seconds, watch=started.watch)
            turns, of = found["turns_s"], f"sessions {sessions}"
            yield f"round trips/s, {of}", turns
            yield f"latency p99 ms, {of}", found["latency_p99"]
            yield f"workers µs a turn, {of}", micros(found, "worker", turns)


GROUP = Group("workers", "Two workers against one, on both cores", ("one worker", "two workers"), measure)
