"""Store calls and commands: how many a turn takes, and how many a token."""

from __future__ import annotations

import http.client
import re

from bench.groups.group import Figures, Group, Options, running
from bench.groups.roundtrips import TEXT
from bench.peers.starting import Started

BATCH = {"roundtrips": (TEXT, 200), "streaming": ("stream", 20)}


def measure(peer: str, options: Options) -> Figures:
    """Counted, not timed: so many turns of so many sessions, after one turn of each."""
    for sessions in options.sessions or (1, 50):
        with running(peer) as (started, load):
            for kind, (text, times) in BATCH.items():
                load.ask("close")
                load.ask("open", count=sessions)
                load.ask("each", text=text)
                before = _counted(started)
                found = load.ask("each", text=text, times=times)
                after = _counted(started)
                of = f"sessions {sessions}" if kind == "roundtrips" else f"streaming 500 tokens, sessions {sessions}"
                for name in after:
                    yield f"{name} a turn, {of}", (after[name] - before[name]) / found["turns"]


def _counted(started: Started) -> dict[str, float]:
    connection = http.client.HTTPConnection("127.0.0.1", started.server.port, timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    assert started.store is not None  # noqa: S101
    commands = started.store.info("commandstats")
    return {
        "store calls": _metric(text, "parley_store_calls_total"),
        "round trips to the store": _metric(text, "parley_store_pipelines_total"),
        "commands that the store counts": sum(counted["calls"] for counted in commands.values()),
    }


def _metric(text: str, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    assert found is not None, name  # noqa: S101
    return float(found[1])


GROUP = Group("calls", "Store calls", ("parley",), measure)
