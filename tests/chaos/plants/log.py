"""Planted faults about the log."""

from __future__ import annotations

import json
from dataclasses import replace

from tests.chaos import story
from tests.chaos.journal import Entry, Fault, Frame, Journal, Quiet, Received, Record, Sent, Stored
from tests.chaos.plants import altered, before, heard, plant, retold, swapped, without
from tests.chaos.teller import SESSION, began


@plant("frames_are_as_documented")
def a_client_sends_what_it_must_not() -> Journal:
    return altered(
        story.good(), Sent, lambda it: it.frame["type"] == "hello", frame=lambda frame: frame | {"client": "short"}
    )


@plant("frames_are_as_documented")
def a_frame_lacks_a_member() -> Journal:
    def change(words: str) -> str:
        return json.dumps({name: value for name, value in json.loads(words).items() if name != "queued"})

    return altered(story.good(), Received, heard("one", "ack"), text=change)


@plant("gapless")
def a_frame_is_missed() -> Journal:
    return without(story.good(), heard("two", "events", seq=1))


@plant("entries_are_their_frames")
def filed_under_another_mark() -> Journal:
    def misfiled(log: list[Entry]) -> list[Entry]:
        return [replace(log[0], mark="m9"), *log[1:]]

    return altered(story.good(), Stored, lambda _: True, log=misfiled)


@plant("entries_are_their_frames")
def a_head_beyond_the_log() -> Journal:
    return altered(story.good(), Stored, lambda _: True, meta=lambda meta: meta | {"seq": "99"})


def _reset(reason: str, seq: int, mark: str) -> Received:
    snapshot: Frame = {"messages": [], "state": None, "open": [], "truncated": False}
    frame = {"type": "reset", "reason": reason, "head": {"seq": seq, "mark": mark}, "snapshot": snapshot}
    return Received(session=SESSION, tab="two", link=1, text=json.dumps(frame))


@plant("no_needless_reset")
def a_reset_though_nothing_was_lost() -> Journal:
    journal = story.good()
    last = journal.of(Stored)[0].log[-1]
    return before(journal, Quiet, _reset("diverged", last.last, last.mark))


@plant("no_needless_reset")
def a_reset_before_anything_was_lost() -> Journal:
    return before(story.lossy(), Fault, *(_reset("ahead", 5, "m1"), _frame_of_two()))


def _frame_of_two() -> Record:
    return next(record for record in story.lossy().records if heard("two", "events", seq=6)(record))


@plant("resets_tell_the_log")
def a_reset_that_tells_another_text() -> Journal:
    return altered(
        story.lossy(), Received, heard("two", "reset"), text=lambda it: it.replace('"content": "', '"content": "x')
    )


@plant("same_bytes")
def the_same_in_other_bytes() -> Journal:
    return altered(story.good(), Received, heard("two", "events", seq=1), text=lambda it: it.replace(": ", ":"))


@plant("same_bytes")
def other_bytes_after_a_loss() -> Journal:
    return altered(story.lossy(), Received, heard("two", "events", seq=1), text=lambda it: it.replace(": ", ":"))


@plant("tabs_have_what_is_stored")
def the_end_is_missed() -> Journal:
    last = story.good().of(Stored)[0].log[-1].first
    return without(story.good(), heard("two", "events", seq=last))


@plant("tabs_have_what_is_stored")
def not_told_of_a_loss() -> Journal:
    journal = without(story.lossy(), heard("two", "reset"))
    return without(journal, heard("two", "events", seq=6, mark="m3"))


@plant("marks_never_return")
def an_earlier_owner_writes_again() -> Journal:
    return retold(story.good(), lambda frame: frame | ({"mark": "m1"} if frame["turn"] == "t6" else {}))


@plant("own_session")
def an_event_of_another_session() -> Journal:
    return retold(story.good(), swapped(began("t0"), began("t0") | {"threadId": "other"}))
