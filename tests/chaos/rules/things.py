"""Rules about what a turn opens: texts, tool calls, steps and asks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from app.protocol.frames import START
from tests.chaos import workload
from tests.chaos.history import History
from tests.chaos.journal import Frame
from tests.chaos.strands import TERMINAL, Told
from tests.support.wire import Placed

Thing = tuple[str, str]
"""Its kind and its id."""


class Answer(NamedTuple):
    """What was said to an ask, and its place among the session's inputs; 0 if that is not known."""

    place: int
    value: str | None


def closed_before_the_end(history: History) -> Iterator[str]:
    """Every text, tool call, step and ask of a turn is closed before its end and before its next attempt."""
    for strand in history.tales:
        for turn in strand.turns:
            open_: dict[Thing, int] = {}
            for place in turn.events:
                if place.event["type"] in TERMINAL | {"RUN_STARTED"} and open_:
                    yield f"{turn.where}: at {place.seq} comes {place.event['type']}, and open are {[*open_]}"
                    open_.clear()
                thing, is_open = _touched(place)
                if is_open:
                    open_[thing] = place.seq
                else:
                    open_.pop(thing, None)


def added_to_while_open(history: History) -> Iterator[str]:
    """A text grows between its start and its end; each of the agent's comes once."""
    for strand in history.tales:
        if strand.since == START:
            open_: dict[str, bool] = {}
            for place in strand.events:
                kind, id_ = place.event["type"], place.event.get("messageId", "")
                if kind == "TEXT_MESSAGE_START" and id_ in open_ and place.event["role"] != "user":
                    yield f"{strand.where}: {id_} begins again at {place.seq}"
                elif kind in {"TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"} and not open_.get(id_):
                    yield f"{strand.where}: {kind} at {place.seq} for {id_}, which is not open"
                if kind in {"TEXT_MESSAGE_START", "TEXT_MESSAGE_END"}:
                    open_[id_] = kind == "TEXT_MESSAGE_START"


def _touched(place: Placed) -> tuple[Thing, bool]:
    """The thing that an event opens or closes, and whether it is open after it."""
    match place.event:
        case {"type": "TEXT_MESSAGE_START" | "TEXT_MESSAGE_END" as kind, "messageId": id_}:
            return ("text", id_), kind == "TEXT_MESSAGE_START"
        case {"type": "TOOL_CALL_START" | "TOOL_CALL_END" as kind, "toolCallId": id_}:
            return ("tool call", id_), kind == "TOOL_CALL_START"
        case {"type": "ACTIVITY_SNAPSHOT", "messageId": id_, "content": {"status": status}}:
            return ("step", id_), status == "running"
        case {"type": "ACTIVITY_DELTA", "messageId": id_, "patch": patch}:
            return ("step", id_), not any(operation["path"] == "/status" for operation in patch)
        case {"name": "parley.ask" | "parley.ask_resolved" as kind, "value": {"id": id_}}:
            return ("ask", id_), kind == "parley.ask"
    return ("", ""), False


def asks_resolve_once(history: History) -> Iterator[str]:
    """Each ask is asked once and resolved once, and in that order."""
    for strand in history.tales:
        for turn in strand.turns:
            asked, resolved = set[str](), set[str]()
            for place in turn.events:
                match place.event:
                    case {"name": "parley.ask", "value": {"id": id_}}:
                        if id_ in asked:
                            yield f"{turn.where}: {id_} is asked again at {place.seq}"
                        asked.add(id_)
                    case {"name": "parley.ask_resolved", "value": {"id": id_}}:
                        if id_ in resolved or (turn.has_begun and id_ not in asked):
                            yield f"{turn.where}: {id_} is resolved at {place.seq}, and was not open"
                        resolved.add(id_)


def the_first_answer_wins(history: History) -> Iterator[str]:
    """An ask that was answered has the answer that was taken first; no value comes from nowhere."""
    for strand in history.tales:
        answers = _answers(history, strand.session)
        for turn in strand.turns:
            for resolution in turn.resolutions:
                if resolution["status"] == "answered":
                    yield from _wrong_answer(history, turn, resolution, answers[resolution["id"]])


def _wrong_answer(history: History, turn: Told, resolution: Frame, given: list[Answer]) -> Iterator[str]:
    value = resolution["value"]
    if value not in [answer.value for answer in given]:
        yield f"{turn.where}: {resolution['id']} is answered with {value}, which nobody said"
    elif not history.loses and all(answer.place for answer in given) and value != min(given).value:
        yield f"{turn.where}: {resolution['id']} is answered with {value}, and first came {min(given).value}"


def _answers(history: History, session: str) -> defaultdict[str, list[Answer]]:
    """What was said to each ask."""
    answers: defaultdict[str, list[Answer]] = defaultdict(list)
    for said in history.said_in(session):
        if said.sent.frame["type"] == "answer" and not said.refusal:
            place = int((said.ack or {}).get("index") or 0)
            answers[said.sent.frame["ask"]].append(Answer(place, said.sent.frame.get("value")))
    return answers


def finished_steps_stay_finished(history: History) -> Iterator[str]:
    """A durable step makes what is expected, and one that was shown as done is not run again by a next attempt."""
    for strand in history.tales:
        for turn in strand.turns:
            made: dict[int, Frame] = {}
            for k, output in _outputs(turn):
                if made.setdefault(k, output) != output:
                    yield f"{turn.where}: step {k} came to {made[k]}, and again to {output}"
                if turn.given and output["word"] != workload.word(strand.session, turn.given.nonce, k):
                    yield f"{turn.where}: step {k} came to {output}"


def _outputs(turn: Told) -> Iterator[tuple[int, Frame]]:
    """What the steps of a turn came to, by their places, as often as it was shown."""
    places: dict[str, int] = {}
    for place in turn.events:
        match place.event:
            case {"type": "ACTIVITY_SNAPSHOT", "messageId": id_, "content": {"input": {"k": k}, "output": output}}:
                places[id_] = k
                if output is not None:
                    yield k, output
            case {"type": "ACTIVITY_DELTA", "messageId": id_, "patch": patch} if id_ in places:
                yield from ((places[id_], change["value"]) for change in patch if change["path"] == "/output")


RULES = (
    closed_before_the_end,
    added_to_while_open,
    asks_resolve_once,
    the_first_answer_wins,
    finished_steps_stay_finished,
)
