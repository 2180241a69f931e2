"""Good histories pass, and what is planted in one is reported, by the one rule that is there for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos import story
from tests.chaos.checker import RULES, check, report
from tests.chaos.journal import Closed, Fault, Journal, Over, Received, Sent, Stored
from tests.chaos.plants import Plant, altered, end, inputs, log, retold, things, turns, whole, without
from tests.chaos.rules.turns import HARMLESS
from tests.chaos.schedule import KINDS

PLANTS = [
    planted
    for module in (log, turns, things, inputs, end, whole)
    for planted in vars(module).values()
    if isinstance(planted, Plant)
]


@pytest.mark.parametrize("tell", [story.good, story.lossy])
def test_a_good_history_passes(tell: Callable[[], Journal]) -> None:
    assert not check(tell()), report(check(tell()))


@pytest.mark.parametrize("tell", [story.good, story.lossy])
def test_a_good_history_passes_whose_log_was_folded(tell: Callable[[], Journal]) -> None:
    journal = tell()
    floor = journal.of(Stored)[0].log[0]

    def folded(meta: dict[str, str]) -> dict[str, str]:
        return meta | {"floor": str(floor.last), "floor_mark": floor.mark}

    journal = altered(journal, Stored, lambda _: True, log=lambda log: log[1:], meta=folded)
    assert not check(journal), report(check(journal))


@pytest.mark.parametrize("planted", PLANTS, ids=lambda planted: planted.what)
def test_a_planted_fault_is_reported_by_its_rule_alone(planted: Plant) -> None:
    assert {violation.rule for violation in check(planted.planted())} == {planted.rule}


def test_a_history_in_which_nothing_happened_does_not_pass() -> None:
    all_that_happened = Sent | Received | Closed | Stored | Fault | Over
    empty = without(story.good(), lambda record: isinstance(record, all_that_happened))
    assert {violation.rule for violation in check(empty)} == {"something_happened"}


def test_no_rule_is_without_a_plant() -> None:
    assert {planted.rule for planted in PLANTS} == RULES.keys()


def test_what_no_rule_is_ready_for_is_reported() -> None:
    journal = retold(story.good(), lambda frame: frame | {"events": [{"type": "RUN_STARTED"}, {"no": "event"}]})
    assert any("cannot be read" in violation.words for violation in check(journal))


def test_harmless_faults_are_among_those_there_are() -> None:
    assert set(HARMLESS) < KINDS.keys()


def test_any_frame_that_is_missed_is_reported() -> None:
    journal = story.good()
    for record in journal.records:
        if isinstance(record, Received) and record.frame["type"] == "events":
            assert check(without(journal, lambda it, missed=record: it is missed)), record  # type: ignore[misc]
