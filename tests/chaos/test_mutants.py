"""The checker catches every mutant at its schedule, by the rule that is there for it; a sound server passes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.checker import check, report
from tests.chaos.mutants import MUTANTS, faulty
from tests.chaos.scenarios import LOSING, SCENARIOS
from tests.chaos.stage import play

PATIENCE = 5.0
"""Seconds after a mutant's last fault in which it may still come right: those that hang would do so for good."""


def test_each_mutant_has_its_scenario() -> None:
    assert SCENARIOS.keys() == MUTANTS.keys()
    assert SCENARIOS.keys() >= LOSING


@pytest.mark.parametrize("name", MUTANTS)
def test_the_places_of_its_fault_are_there(name: str) -> None:
    assert faulty(MUTANTS[name])


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_sound_server_comes_through(name: str, tmp_path: Path) -> None:
    journal = await play(SCENARIOS[name], tmp_path, ("app",), loses=name in LOSING)
    violations = check(journal)
    assert not violations, report(violations)


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_mutant_is_caught(name: str, tmp_path: Path) -> None:
    program = ("tests.chaos.mutants", name)
    journal = await play(SCENARIOS[name], tmp_path, program, loses=name in LOSING, patience=PATIENCE)
    assert MUTANTS[name].rule in {violation.rule for violation in check(journal)}
