"""Planted faults about how it ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.chaos import story
from tests.chaos.journal import (
    Done,
    Journal,
    Quiet,
    Resources,
    Stored,
)
from tests.chaos.plants import altered, plant, without


@plant("done_in_time")
def done_too_late() -> Journal:
    quiet = story.good().of(Quiet)[0].t
    return altered(story.good(), Done, lambda _: True, t=quiet + 15.1)


@plant("done_in_time")
def somebody_waits() -> Journal:
    return altered(story.good(), Done, lambda _: True, waiting=["tab one waits for 3"])


@plant("done_in_time")
def never_done() -> Journal:
    return without(story.good(), lambda record: isinstance(record, Done))


@plant("nothing_is_left_in_the_store")
def an_input_is_left() -> Journal:
    return altered(story.good(), Stored, lambda _: True, inbox=["message"])


@plant("back_to_the_baseline")
def a_task_is_left() -> Journal:
    return altered(story.good(), Resources, lambda it: it.when == "after", tasks=10)


@plant("each_turn_is_in_the_state_once")
def what_a_turn_left_is_lost() -> Journal:
    return _noted(lambda done: done[:-1])


@plant("each_turn_is_in_the_state_once")
def what_an_attempt_left_that_died() -> Journal:
    return _noted(lambda done: ["a", *done])


def _noted(change: Callable[[list[str]], list[str]]) -> Journal:
    return altered(story.good(), Stored, lambda _: True, state=lambda state: state | {"done": change(state["done"])})


@plant("shared_state_is_as_told")
def clients_follow_another_state() -> Journal:
    def change(state: dict[str, Any]) -> dict[str, Any]:
        return state | {"parley:state": {"nonces": {}}}

    return altered(story.good(), Stored, lambda _: True, state=change)
