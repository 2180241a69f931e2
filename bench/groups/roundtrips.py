"""Round trips: a message in, its answer out, and the next one."""

from __future__ import annotations

from bench.groups.group import Figures, Group, Options, micros, running

SESSIONS = (1, 50, 500)

TEXT = "How many roads must a man walk down?"


def measure(peer: str, options: Options) -> Figures:
    """Each session says the next thing as soon as its last turn is over."""
    with running(peer) as (started, load):
        for sessions in options.sessions or SESSIONS:
            load.ask("close")
            load.ask("open", count=sessions)
            found = load.ask("turns", text=TEXT, clients=sessions, seconds=options.seconds, watch=started.watch)
            turns, of = found["turns_s"], f"sessions {sessions}"
            yield f"round trips/s, {of}", turns
            yield f"latency p50 ms, {of}", found["latency_p50"]
            yield f"latency p99 ms, {of}", found["latency_p99"]
            yield f"worker µs a turn, {of}", micros(found, "worker", turns)
            yield f"store µs a turn, {of}", micros(found, "store", turns)


GROUP = Group("roundtrips", "Round trips", ("floor", "parley", "socketio", "chainlit", "parley fast"), measure)
