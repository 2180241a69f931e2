"""Figures of a run, which `make test-docker` shows at its end."""

from __future__ import annotations

from collections.abc import Iterable
from statistics import median

from tests.docker.talker import Talker


def say(line: str) -> None:
    """Put a line into the report."""
    print(line)  # noqa: T201  # pytest keeps it with its test


def say_of(talkers: list[Talker], what: str) -> None:
    """Put into the report what became of their inputs, and for how long they had to do without."""
    counts = {
        "inputs": sum(talker.said for talker in talkers),
        "acknowledged": sum(talker.acked for talker in talkers),
        "answered": sum(talker.ended for talker in talkers),
        "connections lost": sum(talker.losses for talker in talkers),
        "attempts at most": max(talker.attempts for talker in talkers),
    }
    say(f"{what}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
    if counts["connections lost"]:
        say("  connected again after " + _spread(seconds for talker in talkers for seconds in talker.away))
    say("  longest silence of a client " + _spread(talker.silence for talker in talkers))


def _spread(seconds: Iterable[float]) -> str:
    all_of_them = sorted(seconds)
    return f"p50 {median(all_of_them):.2f} s, max {all_of_them[-1]:.2f} s"
