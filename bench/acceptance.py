"""What must hold between figures of one run, and what is the goal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from bench.results import Measured, median

Figure = tuple[str, str]
"""A peer and a name."""


class Line(NamedTuple):
    """One relation: the median over the rounds of what two figures of the same round make together."""

    text: str
    group: str
    ours: Figure
    theirs: Figure
    bound: float
    goal: float
    at_least: bool = True
    together: Callable[[float, float], float] = lambda ours, theirs: ours / theirs

    def found(self, groups: dict[str, Measured]) -> float | None:
        """The median; None if it was not measured."""
        measured = groups.get(self.group, {})
        ours, theirs = (measured.get(peer, {}).get(name, []) for peer, name in (self.ours, self.theirs))
        pairs = zip(ours, theirs, strict=False)
        return median([self.together(a, b) for a, b in pairs if a is not None and b])

    def verdict(self, value: float) -> str:
        """Whether it reaches the goal, the bound, or neither."""
        reaches = float.__ge__ if self.at_least else float.__le__
        if reaches(value, self.goal):
            return "goal"
        return "bound" if reaches(value, self.bound) else "MISSED"


def _ratios(group: str, name: str, than: dict[str, tuple[float, float]]) -> Iterator[Line]:
    for peer, (bound, goal) in than.items():
        text = f"{name}, times those of {peer}"
        yield Line(text, group, ("parley", name), (peer, name), bound, goal)


def _weights() -> Iterator[Line]:
    for sessions in ("1,000", "10,000"):
        name = f"KB a session attached, sessions {sessions}"
        yield Line(
            f"{name}, times those of floor", "memory", ("parley", name), ("floor", name), 1.8, 1.4, at_least=False
        )


LINES = [
    *_ratios(
        "roundtrips", "round trips/s, sessions 50", {"chainlit": (10, 15), "socketio": (0.7, 1), "floor": (0.12, 0.2)}
    ),
    *_ratios(
        "roundtrips", "round trips/s, sessions 500", {"chainlit": (10, 15), "socketio": (0.7, 1), "floor": (0.12, 0.2)}
    ),
    *(
        line
        for sessions in (1, 20, 200)
        for line in _ratios("streaming", f"tokens/s, sessions {sessions}", {"chainlit": (10, 25), "floor": (1, 2)})
    ),
    Line(
        "first token p50, sessions 1: ms more than the floor",
        "streaming",
        ("parley", "first token p50 ms, sessions 1"),
        ("floor", "first token p50 ms, sessions 1"),
        5,
        3,
        at_least=False,
        together=lambda ours, theirs: ours - theirs,
    ),
    *_weights(),
    Line(
        "round trips/s of 50 busy sessions, 10,000 held: times those with 100 held",
        "growth",
        ("parley", "round trips/s, held 10,000"),
        ("parley", "round trips/s, held 100"),
        0.8,
        1,
    ),
]
"""All of them. Round trips are durable ones, beside peers that keep nothing."""


def judged(groups: dict[str, Measured]) -> Iterator[tuple[Line, float, str]]:
    """What was measured: the line, its value, the verdict."""
    for line in LINES:
        if (value := line.found(groups)) is not None:
            yield line, value, line.verdict(value)
