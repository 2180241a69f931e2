"""Rules about what clients send: each input is taken once, what was acknowledged is kept, a bad one is refused."""

from __future__ import annotations

from collections.abc import Iterator

from tests.chaos.history import History, Said, Tab
from tests.chaos.journal import Closed, Frame

FOR_NOW = frozenset({"busy", "out_of_order", "counter_skipped"})
"""Why a good client's input may be refused: to be sent again."""

GONE = frozenset({1006, 1012, 1013, 4408, 4409, 4431})
"""Codes with which a good client may lose a connection: to come back."""

NO_SUCH_SESSION = 4404


def same_ack_again(history: History) -> Iterator[str]:
    """A number that comes again gets the same `ack`; a store that lost it takes it anew."""
    for tab in history.tabs if not history.loses else []:
        first: dict[int, Frame] = {}
        for said in tab.said:
            if said.ack:
                one, other = first.setdefault(said.n, said.ack), said.ack
                if any(one.get(member, it) != it for member, it in _place(other).items()):
                    yield f"tab {tab.name}: {said.n} is acknowledged with {one}, then with {other}"


def _place(ack: Frame) -> Frame:
    return {member: ack[member] for member in ("index", "turn") if member in ack}


def one_place_each(history: History) -> Iterator[str]:
    """No two inputs of a session have the same turn or the same index."""
    for tabs in history.tabs_of.values() if not history.loses else []:
        taken: dict[tuple[str, object], tuple[str, int]] = {}
        for tab in tabs:
            for said in tab.said:
                for place in _place(said.ack or {}).items():
                    other = taken.setdefault(place, (tab.name, said.n))
                    if other != (tab.name, said.n):
                        yield f"{place} is given to {other}, and to {said.n} of tab {tab.name}"


def what_was_acknowledged_is_kept(history: History) -> Iterator[str]:
    """`welcome.acked` is never below an acknowledged number, nor is the client unknown, unless data was lost."""
    for tab in history.tabs if not history.loses else []:
        acks = [(said.answer.t, said.n) for said in tab.said if said.ack and said.answer]
        for welcome in tab.received("welcome"):
            acked = max((n for t, n in acks if t <= welcome.t), default=0)
            if welcome.frame["acked"] < acked or (acked and not welcome.frame["known"]):
                yield f"tab {tab.name}: {acked} was acknowledged, and it is told {welcome.frame}"


def only_what_was_asked_is_answered(history: History) -> Iterator[str]:
    """No `ack` for what was not sent on that connection."""
    for tab in history.tabs:
        answers = {id(said.answer) for said in tab.said}
        for ack in tab.received("ack"):
            if id(ack) not in answers:
                yield f"tab {tab.name}: {ack.frame} at {ack.t:.3f} is for nothing that it sent"


def every_input_is_answered(history: History) -> Iterator[str]:
    """In the end everything that a good client sent was taken, or refused with a word."""
    for tab in history.tabs:
        taken = max((welcome.frame["acked"] for welcome in tab.received("welcome")), default=0)
        settled = {said.body for said in tab.said if said.answer is not None or said.n <= taken}
        for said in tab.said:
            if not said.sent.intent and said.body not in settled:
                yield f"tab {tab.name}: {said.sent.frame} was neither acknowledged nor refused"


def good_inputs_are_not_refused(history: History) -> Iterator[str]:
    """A good client is told to send an input again, and nothing worse; after a loss, that others used its number."""
    for tab in history.tabs:
        for said in tab.said:
            allowed = FOR_NOW | ({"conflict"} if history.loses else set())
            if said.refusal and not said.sent.intent and said.refusal not in allowed:
                yield f"tab {tab.name}: {said.n} is refused with {said.refusal}: {said.sent.frame}"


def bad_inputs_are_refused(history: History) -> Iterator[str]:
    """Another content under a number that was used is a `conflict`; the same content is a duplicate."""
    for tab in history.tabs if not history.loses else []:
        for said in tab.said:
            if said.answer is not None and said.refusal not in FOR_NOW and not _is_answered_well(said):
                yield f"tab {tab.name}: the {said.sent.intent} {said.n} is answered with {said.answer.frame}"


def _is_answered_well(said: Said) -> bool:
    match said.sent.intent:
        case "conflict":
            return said.refusal == "conflict"
        case "duplicate":
            return said.ack is not None and said.ack["duplicate"]
        case "skip":
            return said.ack is None
    return True


def connections_are_lost_for_a_reason(history: History) -> Iterator[str]:
    """A good client is never closed for good, nor because a server is at fault."""
    for tab in history.tabs:
        for record in tab.records:
            if isinstance(record, Closed) and not record.ours and record.code not in _codes(history, tab):
                yield f"tab {tab.name}: closed with {record.code} at {record.t:.3f}"


def _codes(history: History, tab: Tab) -> set[int]:
    """With which codes this tab may be closed."""
    codes = set(GONE)
    if not history.loses and all(said.sent.intent not in {"skip", "reorder"} for said in tab.said):
        codes.discard(4409)
    return codes | ({NO_SUCH_SESSION} if history.loses else set())


RULES = (
    same_ack_again,
    one_place_each,
    what_was_acknowledged_is_kept,
    only_what_was_asked_is_answered,
    every_input_is_answered,
    good_inputs_are_not_refused,
    bad_inputs_are_refused,
    connections_are_lost_for_a_reason,
)
