"""Tells small histories by hand."""

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
    Frame,
    Journal,
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

WELCOME: Frame = {
    "type": "welcome",
    "protocol": 1,
    "session": SESSION,
    "agent": "chaos",
    "user": "anonymous",
    "worker": "w",
    "resumed": True,
    "limits": {"frame_bytes": 262_144, "inbox": 64},
}
"""What is the same in every welcome."""

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


def step(message: str, output: Frame | None, status: str) -> Frame:
    """A step is shown, the first of its turn."""
    content = {"name": "find", "input": {"k": 0}, "output": output, "status": status}
    return {"type": "ACTIVITY_SNAPSHOT", "messageId": message, "activityType": "step", "content": content}


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
        self.write(Run(seed=0, loses=loses, lease=2.0, program=["app"], schedule=["worker killed"]))
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
        self.write(Sent(frame={"type": "hello", "client": f"client-{tab}", "session": SESSION, "since": since}, **at))
        acked = self.numbers.get(tab, 0)
        known = tab in self.numbers
        self.hear(tab, WELCOME | {"head": self.head, "acked": acked, "known": known})
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
