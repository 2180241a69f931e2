"""Small histories made by hand, on which each rule of the checker is tried."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from tests.chaos import workload
from tests.chaos.journal import (
    Closed,
    Connect,
    Done,
    Entry,
    Fault,
    Frame,
    Journal,
    Over,
    Quiet,
    Received,
    Record,
    Resources,
    Run,
    Sent,
    Stored,
)
from tests.chaos.workload import Input

SESSION = "S"
START: Frame = {"seq": 0, "mark": ""}

TOAST: Frame = {"type": "CUSTOM", "name": "parley.toast", "value": {"message": "well", "type": "info"}}
"""An event that no rule minds."""


def began(turn: str) -> Frame:
    """A turn's, or an attempt's, first event."""
    return {"type": "RUN_STARTED", "threadId": SESSION, "runId": turn}


def finished(turn: str) -> Frame:
    """A good end."""
    return {"type": "RUN_FINISHED", "threadId": SESSION, "runId": turn}


def opened(message: str, role: str = "assistant") -> Frame:
    """A text begins."""
    return {"type": "TEXT_MESSAGE_START", "messageId": message, "role": role}


def added(message: str, delta: str) -> Frame:
    """A text grows."""
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": delta}


def closed(message: str) -> Frame:
    """A text ends."""
    return {"type": "TEXT_MESSAGE_END", "messageId": message}


def text(message: str, content: str, role: str = "assistant") -> list[Frame]:
    """A whole text."""
    return [opened(message, role), added(message, content), closed(message)]


def custom(name: str, **value: Any) -> Frame:
    """An event of Parley's own."""
    return {"type": "CUSTOM", "name": f"parley.{name}", "value": value}


def word(given: Input, k: int) -> str:
    """A word of what an input makes."""
    return workload.word(SESSION, given.nonce, k)


class Teller:
    """Tells a history: all that happens is written down, and what is appended is given to every tab that is there."""

    def __init__(self, *, loses: bool = False) -> None:
        self.records: list[Record] = []
        self.log: list[Entry] = []
        self.numbers: dict[str, int] = {}
        self.mark = "m1"
        self._links: dict[str, int] = {}
        self._attached: set[str] = set()
        self._inputs = 0
        self._done: list[str] = []
        self.write(Run(seed=0, loses=loses, lease=2.0, program=["app"], schedule=[]))
        self._held("before")

    def write(self, record: Record) -> None:
        """A tenth of a second later something happens."""
        self.records.append(replace(record, t=len(self.records) / 10))

    @property
    def head(self) -> Frame:
        """The position of the log's last event."""
        return {"seq": self.log[-1].last, "mark": self.log[-1].mark} if self.log else START

    def connect(self, tab: str, worker: int, since: Frame = START) -> None:
        """A tab comes, and is told what came after its position."""
        self._links[tab] = self._links.get(tab, 0) + 1
        self._attached.add(tab)
        at: dict[str, Any] = {"session": SESSION, "tab": tab, "link": self._links[tab]}
        self.write(Connect(worker=worker, **at))
        self.write(Sent(frame={"type": "hello", "client": tab, "session": SESSION, "since": since}, **at))
        acked = self.numbers.get(tab, 0)
        known = tab in self.numbers
        self.hear(tab, {"type": "welcome", "session": SESSION, "head": self.head, "acked": acked, "known": known})
        for entry in self.log:
            if entry.last > since["seq"] and since["seq"] <= self.head["seq"]:
                self._hear(tab, entry.text)

    def leave(self, tab: str, code: int, *, ours: bool = False) -> None:
        """A tab's connection is gone."""
        self._attached.discard(tab)
        self.write(Closed(session=SESSION, tab=tab, link=self._links[tab], code=code, ours=ours))

    def hear(self, tab: str, frame: Frame) -> None:
        """A tab gets a frame."""
        self._hear(tab, json.dumps(frame))

    def say(self, tab: str, frame: Frame, intent: str = "") -> None:
        """A tab sends a frame."""
        self.write(Sent(session=SESSION, tab=tab, link=self._links[tab], frame=frame, intent=intent))

    def keep(self, tab: str, frame: Frame, turn: str | None = None) -> None:
        """A tab sends its next input, which is acknowledged."""
        self._inputs += 1
        self.numbers[tab] = frame["n"]
        self.say(tab, frame)
        self.hear(
            tab, {"type": "ack", "n": frame["n"], "index": self._inputs, "duplicate": False, "queued": 0} | _turn(turn)
        )

    def ask_for(self, tab: str, n: int, given: Input, turn: str) -> list[Frame]:
        """A tab asks for something; the events with which its turn begins."""
        id_ = f"m-{given.nonce}"
        self.keep(tab, {"type": "message", "n": n, "id": id_, "content": given.content}, turn)
        return [began(turn), *text(id_, given.content, "user")]

    def append(self, turn: str, attempt: int, *events: Frame) -> None:
        """The log gets another frame, and all who are there do."""
        seq = self.head["seq"] + 1
        frame = {"type": "events", "seq": seq, "mark": self.mark, "turn": turn, "attempt": attempt, "events": events}
        entry = Entry(seq, seq + len(events) - 1, self.mark, json.dumps(frame))
        self.log.append(entry)
        for tab in sorted(self._attached):
            self._hear(tab, entry.text)

    def note(self, *nonces: str) -> None:
        """The session's state gets the nonces of turns that ended."""
        self._done += nonces

    def end(self, shared: Any = None) -> Journal:
        """All is quiet, all is done, and all have left."""
        self.write(Quiet())
        self.write(Done())
        for tab in sorted(self._attached):
            self.leave(tab, 1000, ours=True)
        state = {"done": self._done, "parley:state": shared}
        meta = {"seq": str(self.head["seq"]), "mark": self.head["mark"], "floor": "0", "floor_mark": "", "run": ""}
        self.write(
            Stored(
                session=SESSION,
                meta=meta,
                log=self.log,
                inbox=[],
                asks={},
                state=state,
                numbers=self.numbers,
                listeners=[],
            )
        )
        self._held("after")
        return Journal(self.records)

    def _hear(self, tab: str, words: str) -> None:
        self.write(Received(session=SESSION, tab=tab, link=self._links[tab], text=words))

    def _held(self, when: Any) -> None:
        self.write(Resources(when=when, worker=0, sockets=4, store=2, channels=1, tasks=9, sessions=0))


def _turn(turn: str | None) -> Frame:
    return {} if turn is None else {"turn": turn}


def _greeted(teller: Teller) -> None:
    """A session begins, with two tabs at two workers."""
    teller.connect("one", 0)
    teller.append("t0", 1, began("t0"), *text("t0.1.1", workload.greeting(SESSION)), finished("t0"))
    teller.note(workload.START)
    teller.connect("two", 1)


def good() -> Journal:
    """A worker dies in mid-stream, an ask gets two answers, a turn is cancelled, and bad inputs are refused."""
    teller = Teller()
    _greeted(teller)
    _streamed_twice(teller)
    _asked(teller)
    _worked(teller)
    _cancelled(teller)
    return teller.end(shared={"nonces": {"e": 0}})


def _streamed_twice(teller: Teller) -> None:
    given = Input("stream", "a", 2)
    teller.mark = "m2"
    opening = teller.ask_for("one", 1, given, "t1")
    teller.append("t1", 1, *opening, opened("t1.1.1"), added("t1.1.1", word(given, 0)))
    since = teller.head
    teller.write(Fault(number=1, name="worker killed", worker=0))
    teller.leave("one", 1006)
    teller.write(Over(number=1))
    teller.mark = "m3"
    closing = [closed("t1.1.1"), custom("superseded", messages=["t1.1.1"]), began("t1")]
    teller.append("t1", 2, *closing, opened("t1.2.1"), added("t1.2.1", word(given, 0)))
    teller.connect("one", 2, since)
    teller.append("t1", 2, added("t1.2.1", word(given, 1)), closed("t1.2.1"), finished("t1"))
    teller.note("a")


def _asked(teller: Teller) -> None:
    given = Input("ask", "b")
    prompt = workload.prompt(SESSION, "b")
    opening = teller.ask_for("two", 1, given, "t2")
    teller.append("t2", 1, *opening, *text("t2.1.1", prompt), custom("ask", id="k.1", kind="text", prompt=prompt))
    for tab, n in (("one", 2), ("two", 2)):
        answer = workload.answer(SESSION, "b", tab)
        teller.keep(tab, {"type": "answer", "n": n, "ask": "k.1", "value": answer})
    answer = workload.answer(SESSION, "b", "one")
    resolved = [custom("ask_resolved", id="k.1", status="answered", value=answer), *text("k.1.answer", answer, "user")]
    heard = text("t2.1.2", workload.heard(SESSION, "b", answer))
    teller.append("t2", 1, *resolved, *heard, TOAST, finished("t2"))
    teller.note("b")


def _worked(teller: Teller) -> None:
    steps, state, fail = Input("steps", "d", 1), Input("state", "e"), Input("fail", "f", 1)
    opening = teller.ask_for("one", 3, steps, "t3")
    step = {
        "type": "ACTIVITY_SNAPSHOT",
        "messageId": "t3.1.1",
        "activityType": "step",
        "content": {"status": "running"},
    }
    done: Frame = {"type": "ACTIVITY_DELTA", "messageId": "t3.1.1", "activityType": "step", "patch": []}
    done["patch"] = [{"op": "add", "path": "/status", "value": "done"}]
    teller.append("t3", 1, *opening, step, done, *text("t3.1.2", word(steps, 0)), finished("t3"))
    opening = teller.ask_for("one", 4, state, "t4")
    told = {"type": "STATE_SNAPSHOT", "snapshot": {"nonces": {}}}
    more = {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/nonces/e", "value": 0}]}
    teller.append("t4", 1, *opening, told, more, *text("t4.1.1", word(state, 0)), finished("t4"))
    opening = teller.ask_for("two", 3, fail, "t5")
    error = {"type": "RUN_ERROR", "message": "no", "code": "handler_error"}
    teller.append("t5", 1, *opening, *text("t5.1.1", word(fail, 0)), error)
    teller.note("d", "e", "f")


def _cancelled(teller: Teller) -> None:
    given = Input("stream", "g", 3)
    opening = teller.ask_for("one", 5, given, "t6")
    teller.append("t6", 1, *opening, opened("t6.1.1"), added("t6.1.1", word(given, 0)))
    teller.keep("two", {"type": "cancel", "n": 4, "turn": "t6"})
    teller.append("t6", 1, closed("t6.1.1"), {"type": "RUN_ERROR", "message": "cancelled", "code": "cancelled"})
    message = {"type": "message", "n": 5, "id": "m-g", "content": given.content}
    teller.say("one", message, "duplicate")
    teller.hear("one", {"type": "ack", "n": 5, "index": 8, "turn": "t6", "duplicate": True, "queued": 0})
    teller.say("one", message | {"id": "m-h"}, "conflict")
    teller.hear("one", {"type": "error", "code": "conflict", "message": "n 5", "n": 5, "fatal": False})


def lossy() -> Journal:
    """The store loses what a tab has seen, and the tab sends it again."""
    teller = Teller(loses=True)
    _greeted(teller)
    kept, given = teller.head, Input("stream", "a", 1)
    teller.mark = "m2"
    opening = teller.ask_for("one", 1, given, "t1")
    teller.append("t1", 1, *opening, opened("t1.1.1"), added("t1.1.1", word(given, 0)))
    teller.write(Fault(number=1, name="file tail cut", loses=True))
    teller.leave("one", 1006)
    since = teller.head
    del teller.log[1:], teller.numbers["one"]
    messages = [{"id": "t0.1.1", "role": "assistant", "content": workload.greeting(SESSION)}]
    snapshot = {"messages": messages, "state": None, "open": [], "truncated": False}
    teller.write(Over(number=1))
    teller.hear("two", {"type": "reset", "reason": "ahead", "head": kept, "snapshot": snapshot})
    teller.connect("one", 0, since)
    teller.hear("one", {"type": "reset", "reason": "ahead", "head": kept, "snapshot": snapshot})
    teller.mark = "m3"
    opening = teller.ask_for("one", 1, given, "t2")
    teller.append("t2", 1, *opening, *text("t2.1.1", word(given, 0)), finished("t2"))
    teller.note("a")
    return teller.end()
