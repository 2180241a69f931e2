"""Growth: what round trips of 50 busy sessions cost while more and more idle ones are held."""

from __future__ import annotations

import time

from bench.groups.group import Figures, Group, Options, micros, running
from bench.groups.roundtrips import TEXT

HELD = (100, 1_000, 10_000)

BUSY = 50

SETTLE = 2.0
"""Seconds after which the idle ones are idle."""


def measure(peer: str, options: Options) -> Figures:
    """In fresh processes for each number: every session had a turn before, then 50 of them are busy."""
    for sessions in options.sessions or HELD:
        with running(peer) as (started, load):
            load.ask("open", count=sessions)
            load.ask("each", text=TEXT)
            time.sleep(SETTLE)
            found = load.ask("turns", text=TEXT, clients=BUSY, seconds=options.seconds, watch=started.watch)
            turns, of = found["turns_s"], f"held {sessions:,}"
            yield f"round trips/s, {of}", turns
            yield f"latency p99 ms, {of}", found["latency_p99"]
            yield f"worker µs a turn, {of}", micros(found, "worker", turns)
            yield f"store µs a turn, {of}", micros(found, "store", turns)


GROUP = Group("growth", "50 busy sessions among idle ones", ("floor", "parley", "parley fast"), measure)
