"""Planted faults about what clients send."""

from __future__ import annotations

import json

from tests.chaos import story
from tests.chaos.journal import (
    Closed,
    Journal,
    Quiet,
    Received,
)
from tests.chaos.plants import altered, before, exchange, heard, plant, told


@plant("same_ack_again")
def another_ack_for_the_same_number() -> Journal:
    return altered(story.good(), Received, heard("one", "ack", n=5, duplicate=True), text=told(index=99))


@plant("one_place_each")
def two_inputs_with_one_index() -> Journal:
    return altered(story.good(), Received, heard("two", "ack", n=4), text=told(index=1))


@plant("what_was_acknowledged_is_kept")
def acknowledged_and_not_kept() -> Journal:
    return altered(story.good(), Received, heard("one", "welcome", acked=1), text=told(acked=0))


@plant("what_was_acknowledged_is_kept")
def a_client_is_forgotten() -> Journal:
    return altered(story.good(), Received, heard("one", "welcome", acked=1), text=told(known=False))


@plant("only_what_was_asked_is_answered")
def an_ack_for_nothing() -> Journal:
    ack = {"type": "ack", "n": 77, "duplicate": False, "queued": 0}
    return before(story.good(), Quiet, exchange({}, ack)[1])


@plant("every_input_is_answered")
def an_input_without_an_answer() -> Journal:
    return before(story.good(), Quiet, *exchange({"type": "cancel", "n": 6, "turn": "t6"}, None))


@plant("good_inputs_are_not_refused")
def a_good_input_is_refused() -> Journal:
    error = {"type": "error", "code": "too_large", "message": "no", "n": 6, "fatal": False}
    return before(story.good(), Quiet, *exchange({"type": "cancel", "n": 6, "turn": "t6"}, error))


@plant("bad_inputs_are_refused")
def a_conflict_is_acknowledged() -> Journal:
    ack = {"type": "ack", "n": 5, "index": 8, "turn": "t6", "duplicate": True, "queued": 0}
    return altered(story.good(), Received, heard("one", "error", n=5), text=json.dumps(ack))


@plant("bad_inputs_are_refused")
def a_duplicate_is_taken_for_new() -> Journal:
    return altered(story.good(), Received, heard("one", "ack", n=5, duplicate=True), text=told(duplicate=False))


@plant("connections_are_lost_for_a_reason")
def closed_by_a_fault_of_the_server() -> Journal:
    return altered(story.good(), Closed, lambda it: not it.ours, code=4500)


@plant("connections_are_lost_for_a_reason")
def closed_as_if_it_had_skipped_a_number() -> Journal:
    return altered(story.good(), Closed, lambda it: not it.ours, code=4409)
