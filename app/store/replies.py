"""What the scripts answer, turned into the contract's types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.errors import Fenced, NoSuchSession, NotYours, Regressed, SessionEnded, StoreError
from app.protocol.frames import Position
from app.store.base import Accepted, Attachment, Claim, Input, LogEntry, Page, Pushed, Refused

REFUSALS: dict[bytes, type[StoreError]] = {
    b"missing": NoSuchSession,
    b"ended": SessionEnded,
    b"forbidden": NotYours,
    b"fenced": Fenced,
    b"regressed": Regressed,
}
"""What a script says instead of doing as asked."""


def check(session: str, reply: Sequence[Any]) -> None:
    """Raises: what a script said instead of doing as asked."""
    refusal = REFUSALS.get(reply[0])
    if refusal is not None:
        raise refusal(session)


def attachment(session: str, reply: Sequence[Any]) -> Attachment:
    """The answer of `read` with a worker and a client."""
    acked = reply[5]
    agent, user, profile = reply[1].decode(), reply[2].decode(), reply[8].decode()
    return Attachment(session, agent, user, int(acked or 0), acked != b"", page(reply), profile)


def accepted(reply: Sequence[Any]) -> Accepted | Refused:
    """The answer of `accept`."""
    if refused := _refused(reply):
        return refused
    index, turn = reply[1], reply[2].decode()
    duplicate = reply[0] == b"duplicate"
    return Accepted(int(index) if index else None, turn or None, 0 if duplicate else int(reply[3]), duplicate)


def pushed(reply: Sequence[Any]) -> Pushed | Refused:
    """The answer of `push`."""
    return _refused(reply) or Pushed(int(reply[1]), reply[2].decode(), reply[0] == b"duplicate")


def _refused(reply: Sequence[Any]) -> Refused | None:
    match reply[0]:
        case b"ok":
            return None
        case b"conflict":
            return Refused("conflict")
        case b"gap":
            return Refused("gap", expected=int(reply[1]))
        case b"busy":
            return Refused("busy", limit=reply[1].decode())
    return None


def owner(reply: Sequence[Any]) -> Sequence[Any]:
    """From an answer of `accept` that was no refusal: who owns the session, and the claim if this worker took it."""
    return reply[3 if reply[0] == b"duplicate" else 4 :]


def page(reply: Sequence[Any]) -> Page:
    """The answer of `read`."""
    entries = [LogEntry(int(f), int(last), mark.decode(), frame) for f, last, mark, frame in reply[7]]
    return Page(reply[6].decode(), Position(int(reply[3]), reply[4].decode()), entries)


def input_of(index: bytes, kind: bytes, body: bytes, turn: bytes, target: bytes) -> Input:
    """One input of an inbox."""
    return Input(int(index), kind.decode(), body, turn.decode(), target.decode())


def claim(session: str, mark: str, reply: Sequence[Any], *, expired: bool = False) -> Claim:
    """The lease that `claim`, `accept` or `create` took."""
    user, agent, previous, seq, head_mark, floor, floor_mark, log_bytes, run, attempt, deaths = reply[:11]
    return Claim(
        session=session,
        user=user.decode(),
        agent=agent.decode(),
        mark=mark,
        previous=previous.decode(),
        head=Position(int(seq), head_mark.decode()),
        floor=Position(int(floor), floor_mark.decode()),
        log_bytes=int(log_bytes),
        run=run.decode(),
        attempt=int(attempt),
        deaths=int(deaths),
        inputs=[input_of(*fields) for fields in reply[11]],
        state=_table(reply[12]),
        asks=_table(reply[13]),
        steps=_table(reply[14]),
        time=int(reply[15]),
        left_by=reply[16].decode(),
        profile=reply[17].decode(),
        expired=expired,
    )


def _table(flat: Sequence[bytes]) -> dict[str, bytes]:
    if not flat:
        return {}
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2], strict=True)}
