"""Rules about the journal of a schedule itself: one in which nothing happened breaks no other rule."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import History
from tests.chaos.journal import Fault, Over, Received, Resources


def something_happened(history: History) -> Iterator[str]:
    """Inputs were acknowledged, events came, and each fault had its end."""
    journal = history.journal
    if not journal.run.schedule:
        return
    kinds = {each.frame["type"] for each in journal.of(Received)}
    if missing := {"welcome", "ack", "events"} - kinds:
        yield f"no tab ever got {', '.join(sorted(missing))}"
    over = {each.number for each in journal.of(Over)}
    for fault in journal.of(Fault):
        if fault.number not in over:
            yield f"{fault.name} has no end"


def all_of_it_is_written_down(history: History) -> Iterator[str]:
    """What the store had is there for every session that a tab was in, and what each worker held, before and after."""
    if not history.journal.run.schedule:
        return
    for session in {each.session for each in history.journal.of(Received)} - history.stored.keys():
        yield f"{session} is not among what is stored"
    looks = history.journal.of(Resources)
    before, after = ({each.worker for each in looks if each.when == when} for when in ("before", "after"))
    if not before or before - after:
        yield f"workers {before - after or 'of any name'} were not looked at in the end"


RULES = (something_happened, all_of_it_is_written_down)
