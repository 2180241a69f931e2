"""Two good histories made by hand, on which each rule of the checker is tried."""

from __future__ import annotations

from tests.chaos import workload
from tests.chaos.journal import Fault, Frame, Journal, Over
from tests.chaos.teller import SESSION, TOAST, Teller, added, began, closed, custom, finished, opened, step, text, word
from tests.chaos.workload import Input


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
    _stepped(teller)
    state, fail = Input("state", "e"), Input("fail", "f", 1)
    opening = teller.ask_for("one", 4, state, "t4")
    told = {"type": "STATE_SNAPSHOT", "snapshot": {"nonces": {}}}
    more = {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/nonces/e", "value": 0}]}
    teller.append("t4", 1, *opening, told, more, *text("t4.1.1", word(state, 0)), finished("t4"))
    opening = teller.ask_for("two", 3, fail, "t5")
    error = {"type": "RUN_ERROR", "message": "no", "code": "handler_error"}
    teller.append("t5", 1, *opening, *text("t5.1.1", word(fail, 0)), error)
    teller.note("d", "e", "f")


def _stepped(teller: Teller) -> None:
    given = Input("steps", "d", 1)
    opening = teller.ask_for("one", 3, given, "t3")
    output = {"word": word(given, 0), "attempt": 1}
    done = [{"op": "add", "path": "/output", "value": output}, {"op": "add", "path": "/status", "value": "done"}]
    change: Frame = {"type": "ACTIVITY_DELTA", "messageId": "t3.1.1", "activityType": "step", "patch": done}
    teller.append("t3", 1, *opening, step("t3.1.1", None, "running"), change)
    teller.write(Fault(number=2, name="worker drained", worker=1))
    teller.write(Over(number=2))
    teller.mark = "m4"
    again = [custom("superseded", messages=["t3.1.1"]), began("t3"), step("t3.2.1", output, "done")]
    teller.append("t3", 2, *again, *text("t3.2.2", word(given, 0)), finished("t3"))


def _cancelled(teller: Teller) -> None:
    given = Input("stream", "g", 3)
    opening = teller.ask_for("one", 5, given, "t6")
    teller.append("t6", 1, *opening, opened("t6.1.1"), added("t6.1.1", word(given, 0)))
    teller.keep("two", {"type": "cancel", "n": 4, "turn": "t6"})
    teller.append("t6", 1, closed("t6.1.1"), {"type": "RUN_ERROR", "message": "cancelled", "code": "cancelled"})
    first = {"type": "message", "n": 1, "id": "m-a", "content": Input("stream", "a", 2).content}
    teller.say("one", first, "duplicate")
    teller.hear("one", {"type": "ack", "n": 1, "index": 1, "turn": "t1", "duplicate": True, "queued": 0})
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
