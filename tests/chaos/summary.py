"""What runs come to in figures: a line for each run, and a table of many."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.chaos.checker import Violation
from tests.chaos.journal import Done, Fault, Habit, Hit, Journal, Quiet, Received, Sent

Line = dict[str, Any]

INTENTS = frozenset({"duplicate", "conflict", "skip", "reorder"})
"""Bad manners that are counted by the frames which were sent: a user may find nothing to be ill-mannered with."""


def summary(journal: Journal, violations: list[Violation]) -> Line:
    """A run's figures, as one line of a file of many."""
    received = [each.frame for each in journal.of(Received)]
    faults = journal.of(Fault)
    sent = [each.intent for each in journal.of(Sent) if each.intent]
    habits = [each.name for each in journal.of(Habit) if each.name not in INTENTS]
    takeovers: defaultdict[str, list[float]] = defaultdict(list)
    for fault, seconds in _takeovers(journal):
        takeovers[_name(fault) + (", alone" if journal.run.alone else ", amid others")].append(round(seconds, 3))
    return {
        "seed": journal.run.seed,
        "loses": journal.run.loses,
        "acknowledged": sum(frame["type"] == "ack" and not frame["duplicate"] for frame in received),
        "delivered": sum(len(frame["events"]) for frame in received if frame["type"] == "events"),
        "resets": sum(frame["type"] == "reset" for frame in received),
        "faults": Counter(map(_name, faults)),
        "manners": Counter(sent + habits),
        "takeovers": takeovers,
        "done": round(journal.of(Done)[-1].t - journal.of(Quiet)[-1].t, 3),
        "violations": [f"{violation.rule}: {violation.words}" for violation in violations],
    }


def failed(seed: int, error: Exception) -> Line:
    """The line of a run that came to no end."""
    nothing: Line = {"faults": {}, "manners": {}, "takeovers": {}}
    figures: Line = dict.fromkeys(("acknowledged", "delivered", "resets", "done"), 0)
    return {"seed": seed, "loses": False, **figures, **nothing, "violations": [f"run failed: {error!r}"]}


def _name(fault: Fault) -> str:
    return f"{fault.name} for {fault.seconds:g} s" if fault.name == "worker frozen" else fault.name


def _takeovers(journal: Journal) -> Iterator[tuple[Fault, float]]:
    """How long after a worker was hit a client saw the next attempt at each turn that it was running."""
    first: dict[tuple[str, int], float] = {}
    for each in journal.of(Received):
        if each.frame["type"] == "events" and each.frame["turn"]:
            first.setdefault((each.frame["turn"], each.frame["attempt"]), each.t)
    for fault in journal.of(Fault):
        for hit in fault.hits:
            if (seen := first.get(_next(hit))) is not None and seen > fault.t:
                yield fault, seen - fault.t


def _next(hit: Hit) -> tuple[str, int]:
    return hit.turn, hit.attempt + 1


def load(path: Path) -> list[Line]:
    """The lines of a file of runs; none if it does not exist."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def report(lines: Iterable[Line]) -> str:
    """Many runs as tables in Markdown."""
    runs = list(lines)
    faults, manners = Counter[str](), Counter[str]()
    times: defaultdict[str, list[float]] = defaultdict(list)
    for run in runs:
        faults.update(run["faults"])
        manners.update(run["manners"])
        for name, seconds in run["takeovers"].items():
            times[name] += seconds
    lost = sum(run["loses"] for run in runs)
    return "\n".join(
        [
            "| what | how many |",
            "| --- | --- |",
            f"| runs, each with 40 sessions and 80 tabs | {len(runs)} |",
            f"| of them with a store that loses a tail | {lost} |",
            f"| inputs acknowledged | {_sum(runs, 'acknowledged')} |",
            f"| events delivered | {_sum(runs, 'delivered')} |",
            f"| `reset` where the store lost nothing | {_sum([run for run in runs if not run['loses']], 'resets')} |",
            f"| violations | {sum(len(run['violations']) for run in runs)} |",
            f"| longest time from the last fault until all was done | {max(run['done'] for run in runs):.1f} s |",
            "",
            "| fault | times |",
            "| --- | --- |",
            *(f"| {name} | {n:,} |" for name, n in sorted(faults.items())),
            "",
            "| what a tab did besides | times |",
            "| --- | --- |",
            *(f"| {name} | {n:,} |" for name, n in sorted(manners.items())),
            "",
            "| takeover after | turns | p50 | p99 |",
            "| --- | --- | --- | --- |",
            *(
                f"| {name} | {len(all_)} | {_share(all_, 50)} | {_share(all_, 99)} |"
                for name, all_ in sorted(times.items())
            ),
        ]
    )


def _sum(runs: Iterable[Line], what: str) -> str:
    return f"{sum(run[what] for run in runs):,}"


def _share(seconds: list[float], percent: int) -> str:
    return f"{sorted(seconds)[math.ceil(len(seconds) * percent / 100) - 1]:.2f} s"
