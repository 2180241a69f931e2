"""What the server sends: one model for each frame, and positions in the log."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

SUBPROTOCOL = "parley.v1"
"""What a client offers in its handshake."""
MAX_OUT_BYTES = 512 * 1024
"""The largest frame a server sends, in bytes."""
MAX_NUMBER = 2**53 - 1
"""The largest counter and position: what every JSON reader keeps exact (RFC 8259, section 6)."""
MAX_NAME = 256
"""Characters of an id, a name or a mark."""


class Position(NamedTuple):
    """A place in a session's log. Equal positions mean equal history up to there. `{seq, mark}` on the wire."""

    seq: int
    """The event's number, from 1; 0 before the first."""
    mark: str
    """The token of the lease it was written under; empty before the first event."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        """A JSON object, where pydantic would take a named tuple for an array."""
        members = core_schema.typed_dict_schema(
            {
                "seq": core_schema.typed_dict_field(core_schema.int_schema(strict=True, ge=0, le=MAX_NUMBER)),
                "mark": core_schema.typed_dict_field(core_schema.str_schema(strict=True, max_length=MAX_NAME)),
            }
        )
        return core_schema.no_info_before_validator_function(
            lambda value: value._asdict() if isinstance(value, cls) else value,
            core_schema.no_info_after_validator_function(lambda members: cls(**members), members),
            serialization=core_schema.plain_serializer_function_ser_schema(cls._asdict, return_schema=members),
        )


START = Position(0, "")
"""Before the first event: what an absent `since` means."""


def _always_there(schema: dict[str, Any]) -> None:
    """Say in a published schema that `type` and `n` are required: their defaults are for code, not for clients."""
    properties = schema["properties"]
    required = [name for name in ("type", "n") if properties.get(name, {}).pop("default", None) is not None]
    schema["required"] = required + schema.get("required", [])


class Wire(BaseModel):
    """An object of the wire: frozen, nothing coerced, unknown members ignored, null the same as absent.

    A member whose name is not a Python name has an alias: `for_` is `for`. Models are built by name in
    code; from the wire the codec takes the alias only.
    """

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
        use_attribute_docstrings=True,
        json_schema_extra=_always_there,
    )
    nullable: ClassVar[frozenset[str]] = frozenset()
    """Members that are sent as null; all others are left out when they are None."""
    _members: ClassVar[tuple[tuple[str, str, bool], ...]]

    @classmethod
    def __pydantic_init_subclass__(cls, **_: object) -> None:
        cls._members = tuple(
            (name, field.alias or name, name in cls.nullable) for name, field in cls.model_fields.items()
        )

    def wire(self) -> dict[str, Any]:
        """The members as they go over the wire; nested objects are left as they are."""
        values = self.__dict__
        return {
            alias: value for name, alias, nullable in self._members if (value := values[name]) is not None or nullable
        }


class Limits(Wire):
    """What this server lets a client do."""

    frame_bytes: int
    """The largest frame it reads; a larger one closes with 1009."""
    inbox: int
    """Inputs of a session that may be accepted and not done."""


class Snapshot(Wire):
    """The conversation folded up to a position."""

    nullable = frozenset({"state"})

    messages: list[dict[str, Any]]
    """AG-UI messages, oldest first, at most 200."""
    state: Any
    """The shared state; null if there is none, or if it was too large."""
    open: list[dict[str, Any]]
    """What has begun and not ended: `{kind, id, …}`, kind being turn, text, tool_call, step or ask."""
    settings: dict[str, Any] | None = None
    """The settings form as it was last shown; absent if there is none."""
    truncated: bool
    """Whether older messages, or parts of large ones, are missing."""


class Welcome(Wire):
    """The answer to `hello`."""

    type: Literal["welcome"] = "welcome"
    protocol: Literal[1] = 1
    session: str
    agent: str
    user: str
    worker: str
    resumed: bool
    """Whether the session was there before."""
    head: Position
    """The position of the log's last event."""
    acked: int
    """The last `n` of this client that was accepted."""
    known: bool
    """Whether the server remembers this client; if not, it resends all it keeps, from 1."""
    limits: Limits


class Events(Wire):
    """One append to the log."""

    nullable = frozenset({"turn"})

    type: Literal["events"] = "events"
    seq: int
    """The position of the first event; the i-th has `seq + i`."""
    mark: str
    turn: str | None
    """The turn these belong to, or null: a push from outside any turn."""
    attempt: int
    events: Annotated[list[dict[str, Any]], Field(min_length=1)]
    """AG-UI 1.0 events."""


class Ack(Wire):
    """An input was kept."""

    type: Literal["ack"] = "ack"
    n: int
    index: int | None = None
    """Its place in the session's inputs."""
    turn: str | None = None
    """The turn it will be."""
    duplicate: bool
    """Whether it had been accepted before."""
    queued: int
    """Inputs before it that are not done."""


class Reset(Wire):
    """The log does not join up with what the client has: this replaces all of it."""

    type: Literal["reset"] = "reset"
    reason: Literal["trimmed", "ahead", "diverged"]
    head: Position
    """Events continue after it."""
    snapshot: Snapshot


class ErrorFrame(Wire):
    """Something was refused."""

    type: Literal["error"] = "error"
    code: str
    """For programs."""
    message: str
    """For people."""
    n: int | None = None
    """The refused input's number, which is not used up."""
    retry_after_ms: int | None = None
    fatal: bool
    """Whether the socket closes after it."""


class Pong(Wire):
    """The answer to `ping`."""

    type: Literal["pong"] = "pong"
    t: int | float | str | None = None
    """What the ping carried."""
    time: int
    """The server's clock in milliseconds."""


class Bye(Wire):
    """The socket closes after it."""

    type: Literal["bye"] = "bye"
    reason: str
    reconnect: bool
    after_ms: int
    """How long to wait before reconnecting, in milliseconds."""


ServerFrame = Annotated[Welcome | Events | Ack | Reset | ErrorFrame | Pong | Bye, Field(discriminator="type")]
"""Everything a server sends."""
