"""Bytes to frames and frames to bytes, either way; bad bytes end in a ProtocolError and in nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, NamedTuple, get_args

import orjson
from pydantic import ValidationError

from app.errors import ProtocolError
from app.protocol.events import Event
from app.protocol.frames import MAX_NUMBER, MAX_OUT_BYTES, Position, ServerFrame, Wire
from app.protocol.inputs import ClientFrame, Counted, Durable, Hello, MessageInput, Ping
from app.protocol.presence import Connected, Disconnected, Presence
from app.protocol.pushes import Push
from app.protocol.values import MAX_BUILT_DEPTH, MAX_DEPTH, MAX_VALUE_BYTES, too_deep

SMALL = 32 * 1024
"""Bytes of a frame whose values cannot pass MAX_VALUE_BYTES: written anew they grow less than fivefold (`1e15`)."""
FRAME_DEPTH = 8
"""Levels that a server's frame puts around what it carries."""


Kept = Durable | Push | Presence
"""Every input that an inbox holds."""

MOST_KNOWN = 1024
"""Messages that are remembered from their arrival to their turn, if they have at most …"""
KNOWN_BYTES = 4096
"""… as many bytes."""

_known: dict[bytes, MessageInput] = {}
"""By body, oldest first. They hold no objects, whose members an earlier attempt would see in another order."""


class Packed(NamedTuple):
    """One `events` frame, ready to be kept and sent."""

    first: int
    """The position of its first event."""
    last: int
    """The position of its last event."""
    frame: bytes


def decode(raw: bytes | str) -> ClientFrame:
    """A client's frame.

    Raises: ProtocolError `bad_json` if it is not JSON (RFC 8259, without NaN and lone surrogates); `unknown_type`;
    `bad_frame` if a member is missing, of the wrong type or past its bound, if it nests deeper than MAX_DEPTH, or if
    an input's values are over MAX_VALUE_BYTES. Its `n` is set if the frame had a usable one.
    """
    members, n = _parse(raw, MAX_DEPTH)
    model = _model(members, _CLIENT, n)
    if n is None and issubclass(model, Counted):
        raise ProtocolError("bad_frame", f"{members['type']}.n: needs an integer from 1 to {MAX_NUMBER}")
    frame: ClientFrame = _validate(model, members, n)
    if len(raw) > SMALL and isinstance(frame, Counted):
        _check_values(frame)
    return frame


def decode_server(raw: bytes | str) -> ServerFrame:
    """A server's frame, for clients. Raises: ProtocolError, as `decode` does."""
    members, n = _parse(raw, MAX_BUILT_DEPTH + FRAME_DEPTH)
    frame: ServerFrame = _validate(_model(members, _SERVER, n), members, n)
    return frame


def decode_push(raw: bytes) -> Push:
    """What is pushed into a session from outside: an object without `type` and `n`. Raises: ProtocolError."""
    members, _ = _parse(raw, MAX_DEPTH)
    members.pop("n", None)
    push: Push = _validate(Push, {**members, "type": "push"}, None)
    if len(raw) > SMALL:
        _check_values(push)
    return push


def body_of(frame: Kept) -> bytes:
    """What is kept of an input: canonical JSON without `n`, the same bytes for the same members in any order."""
    members = frame.wire()
    del members["n"]
    body = orjson.dumps(members, default=_plain, option=orjson.OPT_SORT_KEYS)
    if len(body) <= KNOWN_BYTES and isinstance(frame, MessageInput) and _is_flat(frame):
        _known[body] = frame
        if len(_known) > MOST_KNOWN:
            del _known[next(iter(_known))]
    return body


def checksum(body: bytes) -> str:
    """A digest of an input's body, 16 hex digits: tells a repeated input from a conflicting one."""
    return blake2b(body, digest_size=8).hexdigest()


def input_from(body: bytes) -> Kept:
    """The input that `body_of` made `body` from; its `n` counts no more. Raises: ProtocolError if it is none.

    A plain message that this process has taken in a moment ago is not parsed again.
    """
    known = _known.pop(body, None)
    if known is not None:
        return known
    members, _ = _parse(body, MAX_DEPTH)
    frame: Kept = _validate(_model(members, _KEPT, None), members, None)
    return frame


def encode(frame: Wire) -> bytes:
    """A frame as it goes over the wire, of either side. Raises: TypeError if a value is not JSON."""
    return orjson.dumps(frame.wire(), default=_plain)


def encode_events(seq: int, mark: str, turn: str | None, attempt: int, events: Sequence[Event]) -> bytes:
    """An `events` frame without a model on the way. Raises: TypeError if an event is not JSON."""
    return orjson.dumps(
        {"type": "events", "seq": seq, "mark": mark, "turn": turn, "attempt": attempt, "events": events}
    )


def encode_ack(n: int, *, queued: int, duplicate: bool, index: int | None, turn: str | None) -> bytes:
    """An `ack` frame without a model on the way."""
    ack: dict[str, int | str] = {"type": "ack", "n": n, "duplicate": duplicate, "queued": queued}
    if index is not None:
        ack["index"] = index
    if turn is not None:
        ack["turn"] = turn
    return orjson.dumps(ack)


def encode_pong(t: float | str | None, time: int) -> bytes:
    """A `pong` frame without a model on the way; `time` is the server's clock in ms."""
    return orjson.dumps({"type": "pong", "time": time} if t is None else {"type": "pong", "t": t, "time": time})


def pack(seq: int, mark: str, turn: str | None, attempt: int, events: Sequence[Event]) -> list[Packed]:
    """`events` as one frame, or as several with consecutive positions if they do not fit in MAX_OUT_BYTES.

    Raises: ValueError if a single event does not fit, which the builders of `events.py` make sure it does;
    TypeError if an event is not JSON.
    """
    if not events:
        return []
    frame = encode_events(seq, mark, turn, attempt, events)
    if len(frame) <= MAX_OUT_BYTES:
        return [Packed(seq, seq + len(events) - 1, frame)]
    if len(events) == 1:
        raise ValueError(f"one {events[0]['type']} makes a frame of {len(frame)} bytes, at most {MAX_OUT_BYTES}")
    middle = len(events) // 2
    return [
        *pack(seq, mark, turn, attempt, events[:middle]),
        *pack(seq + middle, mark, turn, attempt, events[middle:]),
    ]


def _parse(raw: bytes | str, depth: int) -> tuple[dict[str, Any], int | None]:
    """The object in `raw`, and its `n` if that can be a counter."""
    try:
        members = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProtocolError("bad_json", f"not JSON: {error}") from None
    if not isinstance(members, dict):
        raise ProtocolError("bad_frame", "a frame is a JSON object")
    n = members.get("n")
    usable = n if type(n) is int and 1 <= n <= MAX_NUMBER else None
    if _nests(members) and _brackets(raw) > depth and too_deep(members, depth):
        raise ProtocolError("bad_frame", f"nested more than {depth} levels deep", usable)
    return members, usable


def _nests(members: dict[str, Any]) -> bool:
    """Whether any member is an object or a list; in most frames none is. A loop: this is on every frame's way."""
    for value in members.values():  # noqa: SIM110 - any() takes about twice as long
        if isinstance(value, (dict, list)):
            return True
    return False


def _brackets(raw: bytes | str) -> int:
    """How many levels `raw` can have at most: tells most frames from deep ones without a walk."""
    if isinstance(raw, str):
        return raw.count("[") + raw.count("{")
    return raw.count(b"[") + raw.count(b"{")


def _model(members: dict[str, Any], models: dict[str, type[Wire]], n: int | None) -> type[Wire]:
    kind = members.get("type")
    if not isinstance(kind, str):
        raise ProtocolError("bad_frame", "type: needs a string", n)
    model = models.get(kind)
    if model is None:
        raise ProtocolError("unknown_type", f"unknown type {kind[:64]!r}, known are {', '.join(models)}", n)
    return model


def _validate(model: type[Wire], members: dict[str, Any], n: int | None) -> Any:
    try:
        return model.__pydantic_validator__.validate_python(members, by_alias=True, by_name=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = _where(members["type"], first["loc"])
        saying = _SAYINGS.get(first["type"])
        words = first["msg"] if saying is None else saying.format_map(first.get("ctx", {}))
        raise ProtocolError("bad_frame", f"{where}: {words}", n) from None


def _where(kind: str, loc: tuple[int | str, ...]) -> str:
    """The place of an error, as in `message.content[0].source.value`: without the names of unions' branches."""
    where = kind
    before: int | str = ""
    for step in loc:
        if isinstance(step, str) and (isinstance(before, int) or before in _UNIONS):
            before = ""
        else:
            where += f"[{step}]" if isinstance(step, int) else f".{step}"
            before = step
    return where


def _is_flat(message: MessageInput) -> bool:
    return isinstance(message.content, str) and message.metadata is None


def _check_values(frame: Counted) -> None:
    members = frame.wire()
    if isinstance(frame, MessageInput | Push) and isinstance(frame.content, str):
        del members["content"]  # an echo splits it over as many events as it takes
    got = len(orjson.dumps(members, default=_plain))
    if got > MAX_VALUE_BYTES:
        kind = members["type"]
        words = f"{kind}: {got} bytes as JSON are too many, at most {MAX_VALUE_BYTES}"
        raise ProtocolError("bad_frame", words, frame.n)


def _plain(value: object) -> object:
    """What orjson is to write for an object that it does not know."""
    if isinstance(value, Wire):
        return value.wire()
    if isinstance(value, Position):
        return value._asdict()
    raise TypeError(f"{type(value).__name__} is not JSON")


def _by_type(union: Any) -> dict[str, type[Wire]]:
    return {model.model_fields["type"].default: model for model in get_args(get_args(union)[0])}


_DURABLE = _by_type(Durable)
_KEPT: dict[str, type[Wire]] = {**_DURABLE, "push": Push, "connect": Connected, "disconnect": Disconnected}
_CLIENT: dict[str, type[Wire]] = {"hello": Hello, **_DURABLE, "ping": Ping}
_SERVER = _by_type(ServerFrame)
_UNIONS = frozenset({"content", "source"})
"""Members after which pydantic names the branch it took; it also does so after each index."""
_SAYINGS = {
    "missing": "Missing",
    "dict_type": "Input should be an object",
    "model_type": "Input should be an object",
    "model_attributes_type": "Input should be an object",
    "union_tag_not_found": "Input should be an object with {discriminator}",
    "union_tag_invalid": "{discriminator} should be one of {expected_tags}",
}
"""Words for JSON where pydantic's are for Python."""
