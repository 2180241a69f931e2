"""Three workers, a store and eighty tabs under a schedule of faults: no history breaks a rule.

`make chaos SEED=n` replays one.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.checker import check, report
from tests.chaos.journal import Journal
from tests.chaos.runner import run
from tests.chaos.schedule import KINDS, schedule

SEEDS = (49, 75, 86, 95, 121, 134, 149, 167, 184, 188)
"""Chosen for their schedules alone: all kinds of faults, one worker frozen for 20 s, little time otherwise."""


def test_the_seeds_have_every_kind_of_fault_and_each_its_schedule_for_good() -> None:
    faults = [fault for seed in SEEDS for fault in schedule(seed).faults]
    assert {fault.name for fault in faults} == KINDS.keys()
    assert {fault.seconds for fault in faults if fault.name == "worker frozen"} == {3.0, 8.0, 20.0}
    assert {schedule(seed).loses for seed in SEEDS} == {True, False}
    assert [schedule(seed) for seed in SEEDS] == [schedule(seed) for seed in SEEDS]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_history_breaks_no_rule(seed: int, tmp_path: Path) -> None:
    violations = check(Journal.load(await run(seed, tmp_path)))
    assert not violations, report(violations)
