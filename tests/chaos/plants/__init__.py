"""Ways to change a history, and what is planted in one by them: files by the same names as those of the rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from tests.chaos.journal import Entry, Frame, Journal, Quiet, Received, Record, Sent, Stored
from tests.chaos.teller import SESSION


class Plant(NamedTuple):
    """A fault in a history, and the rule that must report it."""

    rule: str
    what: str
    planted: Callable[[], Journal]


def plant(rule: str) -> Callable[[Callable[[], Journal]], Plant]:
    """Say which rule is to report what a function plants."""
    return lambda planted: Plant(rule, planted.__name__, planted)


def altered(journal: Journal, kind: type[Record], when: Callable[[Any], bool], **members: Any) -> Journal:
    """The records of a kind for which `when` holds have other members; a callable makes one from what was."""

    def change(record: Record) -> Record:
        if not (isinstance(record, kind) and when(record)):
            return record
        made = {name: it(getattr(record, name)) if callable(it) else it for name, it in members.items()}
        return replace(record, **made)

    return Journal([change(record) for record in journal.records])


def without(journal: Journal, when: Callable[[Any], bool]) -> Journal:
    """The records for which `when` holds are not there."""
    return Journal([record for record in journal.records if not when(record)])


def before(journal: Journal, kind: type[Record], *more: Record) -> Journal:
    """More happens just before the first record of a kind."""
    at = next(i for i, record in enumerate(journal.records) if isinstance(record, kind))
    t = journal.records[at].t - 0.05
    return Journal([*journal.records[:at], *(replace(record, t=t) for record in more), *journal.records[at:]])


def heard(tab: str, kind: str, **members: Any) -> Callable[[Any], bool]:
    """A condition: this tab gets such a frame."""
    return lambda record: (
        isinstance(record, Received)
        and record.tab == tab
        and record.frame["type"] == kind
        and members.items() <= record.frame.items()
    )


def said(tab: str, n: int, intent: str = "") -> Callable[[Any], bool]:
    """A condition: this tab sends this number."""
    return lambda record: record.tab == tab and record.frame.get("n") == n and record.intent == intent


def told(**members: Any) -> Callable[[str], str]:
    """A frame with other members."""
    return lambda words: json.dumps(json.loads(words) | members)


def retold(journal: Journal, change: Callable[[Frame], Frame]) -> Journal:
    """The log is another one, and everybody has it so. `change` gets every `events` frame and answers with its own."""

    def changed(words: str) -> str:
        frame = json.loads(words)
        return json.dumps(change(frame)) if frame["type"] == "events" else words

    def entry(old: Entry) -> Entry:
        new = changed(old.text)
        return Entry(old.first, old.last, json.loads(new)["mark"], new)

    journal = altered(journal, Received, lambda _: True, text=changed)
    return altered(journal, Stored, lambda _: True, log=lambda log: [entry(old) for old in log])


def swapped(old: Frame, new: Frame) -> Callable[[Frame], Frame]:
    """A change for `retold`: another event in place of one."""

    def change(frame: Frame) -> Frame:
        return frame | {"events": [new if event == old else event for event in frame["events"]]}

    return change


def appended(journal: Journal, *frames: tuple[str, list[Frame]], note: tuple[str, ...] = ()) -> Journal:
    """The log gets more frames in the end, for everybody."""
    stored = journal.of(Stored)[0]
    log = [*stored.log]
    heard_of: list[Record] = []
    for turn, events in frames:
        seq = log[-1].last + 1
        members = {"type": "events", "seq": seq, "mark": log[-1].mark, "turn": turn, "attempt": 1, "events": events}
        log.append(Entry(seq, seq + len(events) - 1, log[-1].mark, json.dumps(members)))
        heard_of += [Received(session=SESSION, tab="one", link=2, text=log[-1].text)]
        heard_of += [Received(session=SESSION, tab="two", link=1, text=log[-1].text)]
    state = stored.state | {"done": [*stored.state["done"], *note]}
    meta = stored.meta | {"seq": str(log[-1].last)}
    return before(altered(journal, Stored, lambda _: True, log=log, meta=meta, state=state), Quiet, *heard_of)


def exchange(frame: Frame, answer: Frame | None) -> list[Record]:
    """Tab one sends a frame and is answered."""
    at: dict[str, Any] = {"session": SESSION, "tab": "one", "link": 2}
    sent = Sent(frame=frame, **at)
    return [sent] if answer is None else [sent, Received(text=json.dumps(answer), **at)]
