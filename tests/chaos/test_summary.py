"""The figures of runs are those of their journals."""

from __future__ import annotations

import json

from tests.chaos.checker import Violation
from tests.chaos.journal import Done, Fault, Habit, Hit, Journal, Quiet, Received, Run, Sent
from tests.chaos.summary import report, summary


def received(t: float, **frame: object) -> Received:
    return Received(t=t, session="s", tab="tab-a", link=1, text=json.dumps(frame))


JOURNAL = Journal(
    [
        Run(seed=7, loses=False, lease=2, program=["app"], schedule=["worker killed"]),
        Sent(t=1, session="s", tab="tab-a", link=1, frame={"type": "message", "n": 1}),
        received(1.1, type="ack", n=1, duplicate=False, turn="A"),
        Sent(t=1.2, session="s", tab="tab-a", link=1, frame={"type": "message", "n": 1}, intent="duplicate"),
        received(1.3, type="ack", n=1, duplicate=True, turn="A"),
        received(1.5, type="events", turn="A", attempt=1, seq=1, events=[{}, {}]),
        Fault(t=2, number=1, name="worker killed", worker=1, hits=[Hit("s", "A", 1), Hit("other", "B", 1)]),
        received(3.5, type="events", turn="A", attempt=2, seq=3, events=[{}]),
        received(4, type="events", turn="A", attempt=2, seq=4, events=[{}]),
        Habit(t=5, tab="tab-a", name="cancel"),
        Quiet(t=6),
        Done(t=6.5),
    ]
)


def test_a_run_in_figures() -> None:
    line = summary(JOURNAL, [Violation("rule", "words")])
    assert line == {
        "seed": 7,
        "loses": False,
        "acknowledged": 1,
        "delivered": 4,
        "resets": 0,
        "faults": {"worker killed": 1},
        "manners": {"cancel": 1, "duplicate": 1},
        "takeovers": {"worker killed, amid others": [1.5]},
        "done": 0.5,
        "violations": ["rule: words"],
    }


def test_runs_in_tables() -> None:
    lines = [summary(JOURNAL, []) for _ in range(99)]
    slow = {**lines[0], "takeovers": {"worker killed, amid others": [9.0]}, "done": 3.0}
    text = report([*lines, slow])
    for row in (
        "| inputs acknowledged | 100 |",
        "| violations | 0 |",
        "| longest time from the last fault until all was done | 3.0 s |",
        "| worker killed | 100 |",
        "| worker killed, amid others | 100 | 1.50 s | 1.50 s |",
    ):
        assert row in text.splitlines(), text
    assert "1.50 s | 9.00 s" in report([*lines, slow, slow])
