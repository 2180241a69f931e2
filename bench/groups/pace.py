"""Streaming at a model's pace: a token every 20 ms, so that hardly any two can be joined."""

from __future__ import annotations

from bench.groups.group import Figures, Group, Options, micros, running

SESSIONS = (20, 200)


def measure(peer: str, options: Options) -> Figures:
    """What a token costs that has an append to itself."""
    for sessions in options.sessions or SESSIONS:
        with running(peer) as (started, load):
            load.ask("open", count=sessions)
            found = load.ask(
                "turns", text="stream slowly", clients=sessions, seconds=options.seconds, warm=1, watch=started.watch
            )
            tokens, of = found["tokens"] / found["seconds"], f"sessions {sessions}"
            yield f"tokens/s, {of}", tokens
            yield f"first token p50 ms, {of}", found["first_p50"]
            yield f"worker µs a token, {of}", micros(found, "worker", tokens)
            yield f"store µs a token, {of}", micros(found, "store", tokens)


GROUP = Group("pace", "Streaming at a model's pace, 50 tokens a second each", ("parley", "parley fast"), measure)
