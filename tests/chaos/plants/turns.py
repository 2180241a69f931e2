"""Planted faults about turns."""

from __future__ import annotations

from tests.chaos import story, workload
from tests.chaos.journal import (
    Fault,
    Journal,
    Over,
    Quiet,
    Received,
    Sent,
)
from tests.chaos.plants import altered, appended, before, exchange, heard, plant, retold, said, swapped, told, without
from tests.chaos.teller import SESSION, TOAST, added, began, custom, finished, text, word
from tests.chaos.workload import Input


@plant("attempts_rise")
def an_attempt_is_left_out() -> Journal:
    return retold(story.good(), lambda frame: frame | ({"attempt": 3} if frame["attempt"] == 2 else {}))


@plant("no_needless_attempt")
def a_second_attempt_though_no_worker_died() -> Journal:
    return without(story.good(), lambda record: isinstance(record, Fault | Over))


@plant("no_needless_attempt")
def a_second_attempt_for_a_harmless_fault() -> Journal:
    return altered(story.good(), Fault, lambda _: True, name="scripts flushed")


@plant("every_turn_ends")
def acknowledged_and_forgotten() -> Journal:
    message = {"type": "message", "n": 6, "id": "m-i", "content": "stream i 1"}
    ack = {"type": "ack", "n": 6, "index": 10, "turn": "t7", "duplicate": False, "queued": 0}
    return before(story.good(), Quiet, *exchange(message, ack))


@plant("every_turn_ends")
def begun_and_left() -> Journal:
    cancelled = {"type": "RUN_ERROR", "message": "cancelled", "code": "cancelled"}
    return retold(story.good(), swapped(cancelled, TOAST))


@plant("every_turn_ends")
def lost_and_not_taken_again() -> Journal:
    frame = {"type": "message", "n": 2, "id": "m-b", "content": "stream b 1"}
    ack = {"type": "ack", "n": 2, "index": 3, "turn": "t3", "duplicate": False, "queued": 0}
    return before(story.lossy(), Quiet, *exchange(frame, ack))


@plant("nothing_after_the_end")
def a_word_after_a_cancel_that_won() -> Journal:
    return appended(story.good(), ("t6", [TOAST]))


@plant("nothing_after_the_end")
def a_second_end() -> Journal:
    return appended(story.good(), ("t2", [finished("t2")]))


@plant("one_after_the_other")
def two_turns_at_once() -> Journal:
    greeting = workload.greeting(SESSION)
    first = [began("t8"), *text("t8.1.1", greeting)]
    second = [began("t9"), *text("t9.1.1", greeting), finished("t9")]
    return appended(story.good(), ("t8", first), ("t9", second), ("t8", [finished("t8")]), note=(workload.START,) * 2)


@plant("in_the_order_of_acknowledgement")
def the_later_input_first() -> Journal:
    journal = altered(story.good(), Received, heard("one", "ack", n=3), text=told(index=6))
    return altered(journal, Received, heard("one", "ack", n=4), text=told(index=5))


@plant("shows_what_is_expected")
def a_wrong_word() -> Journal:
    right = added("t4.1.1", word(Input("state", "e"), 0))
    return retold(story.good(), swapped(right, right | {"delta": "wrong"}))


@plant("shows_what_is_expected")
def the_first_attempt_stays() -> Journal:
    superseded = custom("superseded", messages=["t1.1.1"])
    return retold(story.good(), swapped(superseded, custom("superseded", messages=[])))


@plant("shows_what_is_expected")
def a_cancelled_turn_says_something_else() -> Journal:
    right = added("t6.1.1", word(Input("stream", "g", 3), 0))
    return retold(story.good(), swapped(right, right | {"delta": "wrong"}))


@plant("ends_as_expected")
def an_end_that_nobody_wanted() -> Journal:
    error = {"type": "RUN_ERROR", "message": "too long", "code": "timeout"}
    return retold(story.good(), swapped(finished("t4"), error))


@plant("ends_as_expected")
def cancelled_by_nobody() -> Journal:
    frame = {"type": "cancel", "n": 4, "turn": "t5"}
    return altered(story.good(), Sent, said("two", 4), frame=frame)


@plant("echoes_what_was_said")
def an_echo_under_another_id() -> Journal:
    old, new = (text(id_, "state e 1", "user") for id_ in ("m-e", "m-x"))
    journal = story.good()
    for one, other in zip(old, new, strict=True):
        journal = retold(journal, swapped(one, other))
    return journal


@plant("echoes_what_was_said")
def a_refused_message_is_answered() -> Journal:
    given = Input("stream", "h", 1)
    events = [*text("m-h", given.content, "user"), *text("t7.1.1", word(given, 0))]
    return appended(story.good(), ("t7", [began("t7"), *events, finished("t7")]), note=("h",))


@plant("each_message_has_one_turn")
def a_message_is_answered_twice() -> Journal:
    given = Input("state", "e")
    events = [*text("m-e", given.content, "user"), *text("t7.1.1", word(given, 0))]
    return appended(story.good(), ("t7", [began("t7"), *events, finished("t7")]), note=("e",))


@plant("each_message_has_one_turn")
def a_message_is_acknowledged_twice_after_a_loss() -> Journal:
    given = Input("stream", "a", 1)
    frame = {"type": "message", "n": 1, "id": "m-a", "content": given.content}
    ack = {"type": "ack", "n": 1, "index": 9, "turn": "t7", "duplicate": False, "queued": 0}
    events = [*text("m-a", given.content, "user"), *text("t7.1.1", word(given, 0))]
    journal = before(story.lossy(), Quiet, *exchange(frame, ack))
    return appended(journal, ("t7", [began("t7"), *events, finished("t7")]), note=("a",))
