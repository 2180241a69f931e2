"""Planted faults about the journal itself."""

from __future__ import annotations

from tests.chaos import story
from tests.chaos.journal import Journal, Over, Resources, Stored
from tests.chaos.plants import plant, without


@plant("something_happened")
def a_fault_without_an_end() -> Journal:
    return without(story.good(), lambda record: isinstance(record, Over))


@plant("all_of_it_is_written_down")
def nobody_looked_in_the_end() -> Journal:
    return without(story.good(), lambda record: isinstance(record, Resources) and record.when == "after")


@plant("all_of_it_is_written_down")
def nobody_looked_into_the_store() -> Journal:
    return without(story.good(), lambda record: isinstance(record, Stored))
