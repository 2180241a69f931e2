"""Rules about how it all ends: in time, with nothing left over, and with the state that the turns made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from app.protocol.frames import START
from app.protocol.patch import PatchError, apply_patch
from tests.chaos import workload
from tests.chaos.history import History
from tests.chaos.journal import Resources
from tests.chaos.strands import Strand

WITHIN = 15.0
"""Seconds after the last fault in which everything is done."""

HELD = ("sockets", "store", "channels", "tasks", "sessions")
"""What a worker holds, as members of `Resources`."""

SHARED = "parley:state"
"""Where the shared state stands among a session's values."""


def done_in_time(history: History) -> Iterator[str]:
    """Within 15 s of the last fault every tab has seen all of its inputs end."""
    done = history.done
    if done is None:
        yield "nobody says that it is done"
        return
    yield from done.waiting
    if done.t > history.quiet + WITHIN:
        yield f"done at {done.t:.3f}, {done.t - history.quiet:.1f} s after the last fault"


def nothing_is_left_in_the_store(history: History) -> Iterator[str]:
    """No session has inputs, asks or a turn that are not done."""
    for session, stored in history.stored.items():
        if stored.inbox or stored.asks or stored.meta.get("run"):
            yield f"{session}: left are {stored.inbox}, asks {stored.asks}, turn {stored.meta.get('run')!r}"


def back_to_the_baseline(history: History) -> Iterator[str]:
    """When all have left, no worker holds more than before the first came."""
    before = {record.worker: record for record in history.journal.of(Resources) if record.when == "before"}
    for after in history.journal.of(Resources):
        for what in HELD if after.when == "after" else ():
            had, has = getattr(before[after.worker], what), getattr(after, what)
            if has > had:
                yield f"worker {after.worker} had {had} {what} and has {has}"


def each_turn_is_in_the_state_once(history: History) -> Iterator[str]:
    """The session's state has what every turn that ended left there, each once, and nothing of an attempt that died."""
    for session, log in history.wholes.items():
        noted = Counter(history.stored[session].state.get("done", []))
        due, may = _nonces(log)
        if log.since != START:  # of turns below the floor nobody tells
            may |= Counter(noted.keys())
        for nonce in noted | due:
            if not due[nonce] <= noted[nonce] <= max(due[nonce], may[nonce]):
                yield f"{session}: the turn of {nonce} is in the state {noted[nonce]} times"


def _nonces(log: Strand) -> tuple[Counter[str], Counter[str]]:
    """What must be in the state and what may: a cancel may come before the handler is called."""
    due, may = Counter[str](), Counter[str]()
    for turn in log.turns:
        if turn.end is not None:
            nonce = turn.given.nonce if turn.given is not None else workload.START
            (may if turn.end.event.get("code") == "cancelled" else due)[nonce] += 1
    return due, may


def shared_state_is_as_told(history: History) -> Iterator[str]:
    """What clients were told of the shared state comes to what the session keeps."""
    for session, log in history.wholes.items():
        told, kept = _shared(log), history.stored[session].state.get(SHARED)
        if log.since == START and told != kept:
            yield f"{session}: clients have the shared state {told}, kept is {kept}"


def _shared(log: Strand) -> Any:
    state: Any = None
    for place in log.events:
        match place.event:
            case {"type": "STATE_SNAPSHOT", "snapshot": snapshot}:
                state = snapshot
            case {"type": "STATE_DELTA", "delta": delta}:
                try:
                    state = apply_patch(state, delta)
                except PatchError as error:
                    return f"no state: at {place.seq} {error}"
    return state


RULES = (
    done_in_time,
    nothing_is_left_in_the_store,
    back_to_the_baseline,
    each_turn_is_in_the_state_once,
    shared_state_is_as_told,
)
