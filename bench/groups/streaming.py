"""Streaming: answers of 500 tokens, with a `sleep(0)` after each."""

from __future__ import annotations

from bench.groups.group import Figures, Group, Options, micros, running

SESSIONS = (1, 20, 200)


def measure(peer: str, options: Options) -> Figures:
    """Each session asks for the next answer as soon as its last one is there."""
    with running(peer) as (started, load):
        for sessions in options.sessions or SESSIONS:
            load.ask("close")
            load.ask("open", count=sessions)
            found = load.ask("turns", text="stream", clients=sessions, seconds=options.seconds, watch=started.watch)
            tokens, of = found["tokens"] / found["seconds"], f"sessions {sessions}"
            yield f"tokens/s, {of}", tokens
            yield f"first token p50 ms, {of}", found["first_p50"]
            yield f"first token p99 ms, {of}", found["first_p99"]
            yield f"worker µs a token, {of}", micros(found, "worker", tokens)
            yield f"store µs a token, {of}", micros(found, "store", tokens)


GROUP = Group("streaming", "Streaming", ("floor", "parley", "socketio", "chainlit", "parley fast"), measure)
