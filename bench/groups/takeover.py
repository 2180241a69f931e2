"""Takeover: a worker ends in the middle of 50 answers, and another one goes on with them."""

from __future__ import annotations

import statistics
import time

from bench.generator import Generator
from bench.groups.group import Figures, Group, Options
from bench.machine import Server, server_core
from bench.peers.starting import serving, valkey

SESSIONS = 50


def measure(_: str, options: Options) -> Figures:
    """Two workers on one store; clients of the second watch the sessions of the first."""
    sessions = options.sessions[0] if options.sessions else SESSIONS
    for how, end in (("killed", Server.kill), ("told to stop", Server.terminate)):
        times = _takeover(sessions, end)
        yield f"seconds until the median session goes on, {how}", statistics.median(times)
        yield f"seconds until the last one goes on, {how}", max(times)


def _takeover(sessions: int, end: object) -> list[float]:
    with (
        valkey("always") as (url, _),
        serving(url, server_core(), log="first") as first,
        serving(url, server_core(), log="second") as second,
        Generator("parley", first.port) as here,
        Generator("parley", second.port) as there,
    ):
        here.ask("open", count=sessions)
        there.ask("attach", sessions=here.ask("sessions")["sessions"])
        here.ask("start", text="stream slowly")
        time.sleep(1)
        ended = time.monotonic()
        end(first)
        return [at - ended for at in there.ask("taken_over")["times"]]


GROUP = Group("takeover", "Takeover of 50 running turns", ("parley",), measure)
