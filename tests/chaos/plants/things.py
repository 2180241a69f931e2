"""Planted faults about what a turn opens."""

from __future__ import annotations

import json

from tests.chaos import story, workload
from tests.chaos.journal import (
    Frame,
    Journal,
    Received,
    Sent,
)
from tests.chaos.plants import altered, heard, plant, retold, said, swapped, told
from tests.chaos.teller import SESSION, TOAST, began, closed, custom, finished, step, text, word
from tests.chaos.workload import Input


@plant("closed_before_the_end")
def a_text_is_left_open() -> Journal:
    return retold(story.good(), swapped(closed("t1.2.1"), TOAST))


@plant("closed_before_the_end")
def a_text_is_left_open_at_the_next_attempt() -> Journal:
    return retold(story.good(), swapped(closed("t1.1.1"), TOAST))


@plant("closed_before_the_end")
def a_step_is_left_open() -> Journal:
    def change(frame: Frame) -> Frame:
        events = [TOAST if event["type"] == "ACTIVITY_DELTA" else event for event in frame["events"]]
        return frame | {"events": events}

    return retold(story.good(), change)


@plant("added_to_while_open")
def a_text_grows_after_its_end() -> Journal:
    greeting = text("t0.1.1", workload.greeting(SESSION))

    def change(frame: Frame) -> Frame:
        opened, added, closed = greeting
        events = [began("t0"), opened, closed, added, finished("t0")]
        return frame | {"events": events} if frame["turn"] == "t0" else frame

    return retold(story.good(), change)


@plant("asks_resolve_once")
def an_ask_is_resolved_twice() -> Journal:
    again = custom("ask_resolved", id="k.1", status="cancelled")
    return retold(story.good(), swapped(TOAST, again))


@plant("the_first_answer_wins")
def the_second_answer_wins() -> Journal:
    journal = altered(story.good(), Received, heard("one", "ack", n=2), text=told(index=4))
    return altered(journal, Received, heard("two", "ack", n=2), text=told(index=3))


@plant("the_first_answer_wins")
def an_answer_that_nobody_gave() -> Journal:
    return altered(story.good(), Sent, said("one", 2), frame=lambda frame: frame | {"value": "another"})


@plant("finished_steps_stay_finished")
def a_finished_step_is_run_again() -> Journal:
    output = {"word": word(Input("steps", "d", 1), 0), "attempt": 1}
    again = step("t3.2.1", output | {"attempt": 2}, "done")
    return retold(story.good(), swapped(step("t3.2.1", output, "done"), again))


@plant("finished_steps_stay_finished")
def a_step_comes_to_something_else() -> Journal:
    def change(frame: Frame) -> Frame:
        events = json.dumps(frame["events"]).replace('"output": {"word": "', '"output": {"word": "x')
        return frame | {"events": json.loads(events.replace('"value": {"word": "', '"value": {"word": "x'))}

    return retold(story.good(), change)
