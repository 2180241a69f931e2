"""Rules about turns: attempts rise, each turn has one end, nothing follows it, and it shows what it was to show."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from app.protocol.frames import START
from tests.chaos import workload
from tests.chaos.history import History
from tests.chaos.journal import Fault
from tests.chaos.strands import TERMINAL, Piece, Strand, Told

HARMLESS = frozenset(
    {
        "subscribers cut",
        "reply dropped",
        "clients stalled",
        "clients far away",
        "clients throttled",
        "clients reset",
        "client cut in mid-frame",
        "scripts flushed",
        "memory full",
    }
)
"""Faults under which no worker may lose a lease."""


def attempts_rise(history: History) -> Iterator[str]:
    """A turn begins with attempt 1; each next one is one higher, and says so with a `RUN_STARTED`."""
    for strand in history.tales:
        for turn in strand.turns:
            first = turn.pieces[0]
            before = 0 if strand.since == START else first.attempt - first.begins
            for piece in turn.pieces:
                if piece.attempt != before + piece.begins:
                    yield f"{turn.where}: attempt {piece.attempt} at {piece.first} follows attempt {before}"
                before = piece.attempt


def no_needless_attempt(history: History) -> Iterator[str]:
    """A turn is begun again only if something happened, after it was said, that may cost its worker the lease."""
    said = _first_said(history)
    for log in history.wholes.values():
        for turn in log.turns:
            again = next((piece for piece in turn.pieces if piece.attempt > 1), None)
            if again is not None:
                since, until = said.get(turn.id, 0.0), _seen_at(history, log.session, again)
                if not any(_may_cost(history, fault, since, until) for fault in history.journal.of(Fault)):
                    yield f"{turn.where}: attempt {again.attempt} by {until:.3f}, for no reason"


def _first_said(history: History) -> dict[str, float]:
    """When each turn's input was sent for the first time, acknowledged then or later."""
    said: dict[str, float] = {}
    for tab in history.tabs:
        first: dict[str, float] = {}
        for each in tab.said:
            said.setdefault(each.turn, first.setdefault(each.body, each.sent.t))
    return said


def _seen_at(history: History, session: str, piece: Piece) -> float:
    """When the first tab had a frame."""
    strands = (strand for tab in history.tabs_of[session] for strand in tab.strands)
    return min((p.t for strand in strands for p in strand.pieces if p.text == piece.text), default=float("inf"))


def _may_cost(history: History, fault: Fault, since: float, until: float) -> bool:
    """Whether a worker may lose a lease by a fault, and at a time between those two."""
    end = history.over.get(fault.number, float("inf")) + history.journal.run.lease
    return fault.name not in HARMLESS and fault.t <= until and end >= since


def every_turn_ends(history: History) -> Iterator[str]:
    """What was acknowledged as a turn has its end, and so has every turn that began.

    Where a store lost a tail, what was acknowledged as a message has been answered, as whichever turn.
    """
    for session, log in history.wholes.items():
        seen = [log, *(strand for tab in history.tabs_of[session] for strand in tab.strands)]
        over = log.ended.union(*(strand.ended for strand in seen if history.loses))
        for turn in {turn.id for turn in log.turns} - over:
            yield f"{log.where}: turn {turn} began and has no end"
        if history.loses:
            yield from _unanswered(history, session, seen)
        else:
            for turn in {said.turn for said in history.said_in(session)} - {turn.id for turn in log.turns} - {""}:
                yield f"{log.where}: turn {turn} was acknowledged and has no end"


def _unanswered(history: History, session: str, seen: list[Strand]) -> Iterator[str]:
    """Acknowledged messages of which nobody saw the end, and that no `reset` showed as said and done."""
    answered = {message for strand in seen for turn in strand.turns if turn.end for message in turn.echoes}
    answered |= {message["id"] for s in seen if s.reset for message in s.reset.frame["snapshot"]["messages"]}
    for said in history.said_in(session):
        message = said.sent.frame.get("id")
        if said.turn and not said.sent.intent and message not in answered:
            yield f"{session}: {message} was acknowledged as turn {said.turn}, and is not answered"


def nothing_after_the_end(history: History) -> Iterator[str]:
    """A turn's terminal event is its last: a cancel that won stays won, and there is no second end."""
    for strand in history.tales:
        for turn in strand.turns:
            for place in turn.events[turn.events.index(turn.end) + 1 :] if turn.end else []:
                yield f"{turn.where} is over, and at {place.seq} comes {place.event['type']}"


def one_after_the_other(history: History) -> Iterator[str]:
    """A turn begins when the one before it has ended."""
    for strand in history.tales:
        running = ""
        for place in strand.events:
            turn, kind = place.turn or "", place.event["type"]
            if kind == "RUN_STARTED" and running not in {"", turn}:
                yield f"{strand.where}: {turn} begins at {place.seq} while {running} runs"
            if kind == "RUN_STARTED" or kind in TERMINAL:
                running = turn if kind == "RUN_STARTED" else ""


def in_the_order_of_acknowledgement(history: History) -> Iterator[str]:
    """Turns begin in the order in which their inputs were taken; a store that lost some may count them anew."""
    acks = [said.ack for tab in history.tabs for said in tab.said if said.ack]
    index = {ack["turn"]: ack["index"] for ack in acks if "turn" in ack and "index" in ack}
    for log in history.wholes.values() if not history.loses else []:
        turns = [turn.id for turn in log.turns if turn.id in index]
        for one, other in pairwise(turns):
            if index[one] > index[other]:
                yield f"{log.where}: {one} is input {index[one]} and comes before {other}, input {index[other]}"


def shows_what_is_expected(history: History) -> Iterator[str]:
    """The messages of a turn, those of its last attempt, are what its input makes; of a cancelled one, the first."""
    for strand in history.tales:
        for turn in strand.turns:
            if turn.is_whole:
                texts, due = turn.texts, _due(turn)
                if texts != due and not (_code(turn) == "cancelled" and _is_beginning(texts, due)):
                    yield f"{turn.where} shows {_short(texts)}, expected is {_short(due)}"


def _due(turn: Told) -> list[str]:
    session = turn.strand.session
    if turn.given is None:
        return [workload.greeting(session)]
    expected = workload.expected(session, turn.given)
    if not expected.asks:
        return expected.texts
    answer = next((value["value"] for value in turn.resolutions if value["status"] == "answered"), None)
    return [*expected.texts, workload.heard(session, turn.given.nonce, answer)]


def _is_beginning(texts: list[str], due: list[str]) -> bool:
    """Whether all texts are the due ones, and the last at least begins like its own."""
    if not texts:
        return True
    return len(texts) <= len(due) and texts[:-1] == due[: len(texts) - 1] and due[len(texts) - 1].startswith(texts[-1])


def _short(texts: list[str]) -> list[str]:
    return [text if len(text) <= 200 else f"{text[:100]}…{text[-100:]} ({len(text)})" for text in texts]


def ends_as_expected(history: History) -> Iterator[str]:
    """A turn ends well, or as its handler fails; `cancelled` only if somebody sent a cancel that may mean it."""
    for strand in history.tales:
        targets = _cancelled(history, strand.session)
        for turn in strand.turns:
            if turn.is_whole:
                fails = turn.given is not None and workload.expected(strand.session, turn.given).fails
                wanted = {"handler_error" if fails else ""} | ({"cancelled"} if targets & {"", turn.id} else set())
                if _code(turn) not in wanted:
                    yield f"{turn.where} ends with {_code(turn) or 'success'}, which nobody wanted"


def _cancelled(history: History, session: str) -> set[str]:
    """The turns that were to be cancelled; an empty one is whichever was the oldest."""
    frames = (said.sent.frame for said in history.said_in(session))
    return {frame.get("turn", "") for frame in frames if frame["type"] == "cancel"}


def _code(turn: Told) -> str:
    """The code of a turn's end; empty is success."""
    return str(turn.end.event.get("code", "")) if turn.end else ""


def echoes_what_was_said(history: History) -> Iterator[str]:
    """A turn shows the message that it is for, under its id, and none but what was said and not to be refused."""
    for session, log in history.wholes.items():
        messages = [each for each in history.said_in(session) if each.sent.frame["type"] == "message"]
        good = [each for each in messages if history.loses or not each.is_bad]
        said_well = {each.sent.frame["id"]: each.sent.frame["content"] for each in good}
        due = {each.turn: each.sent.frame["id"] for each in good if each.turn}
        for turn in log.turns:
            if turn.has_begun and not turn.echoes.items() <= said_well.items():
                yield f"{turn.where} echoes {turn.echoes}, which nobody said so"
            elif turn.has_begun and turn.id in due and list(turn.echoes) != [due[turn.id]]:
                yield f"{turn.where} echoes {turn.echoes}, and is for {due[turn.id]}"


def each_message_has_one_turn(history: History) -> Iterator[str]:
    """No message is answered twice.

    After a loss it may be, but not acknowledged twice: an older connection of its tab had it still on its way.
    """
    for session, log in history.wholes.items():
        acknowledged = {said.turn for said in history.said_in(session)}
        of: defaultdict[str, list[str]] = defaultdict(list)
        for turn in log.turns:
            for message in turn.echoes:
                of[message] += [turn.id] if turn.id in acknowledged or not history.loses else []
        for message, turns in of.items():
            if len(turns) > 1:
                yield f"{log.where}: {message} is answered in {turns}"


RULES = (
    attempts_rise,
    no_needless_attempt,
    every_turn_ends,
    nothing_after_the_end,
    one_after_the_other,
    in_the_order_of_acknowledgement,
    shows_what_is_expected,
    ends_as_expected,
    echoes_what_was_said,
    each_message_has_one_turn,
)
