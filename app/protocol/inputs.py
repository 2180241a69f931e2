"""What a client sends: one model for each frame, with its bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from app.protocol.frames import MAX_NAME, MAX_NUMBER, Position, Wire

MAX_TOKEN = 16 * 1024
"""Characters of a bearer token."""
MAX_COMMENT = 16 * 1024
"""Characters of the comment to a feedback."""
MAX_PARTS = 64
"""Parts of one message."""
MAX_OPERATIONS = 256
"""Operations of one JSON Patch."""
MAX_POINTER = 1024
"""Characters of a JSON Pointer."""

CONTROL_KINDS = frozenset({"cancel", "answer", "end"})
"""Inputs with a bound of their own, so that a full inbox never stops a stop."""

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
"""An id or a name."""
Client = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{8,64}$")]
"""A client's own id: one for each tab or program run."""
Pointer = Annotated[str, Field(pattern=r"^(/([^/~]|~[01])*)*$", max_length=MAX_POINTER)]
"""A JSON Pointer (RFC 6901)."""


def _scalar(value: object) -> object:
    is_text = isinstance(value, str) and len(value) <= MAX_NAME
    if is_text or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise PydanticCustomError("scalar", f"Input should be a number or a string of at most {MAX_NAME} characters")


Scalar = Annotated[int | float | str, BeforeValidator(_scalar)]
"""A number or a short string."""


class DataSource(Wire):
    """Bytes carried inline."""

    type: Literal["data"] = "data"
    value: str
    """Base64."""
    mime_type: Annotated[str, Field(alias="mimeType", max_length=MAX_NAME)]


class UrlSource(Wire):
    """Bytes to be fetched by whoever needs them."""

    type: Literal["url"] = "url"
    value: str
    mime_type: Annotated[str | None, Field(alias="mimeType", max_length=MAX_NAME)] = None


class FileSource(Wire):
    """Bytes that a provider already has, under the handle it gave out."""

    type: Literal["file"] = "file"
    value: str
    provider: Name | None = None
    mime_type: Annotated[str | None, Field(alias="mimeType", max_length=MAX_NAME)] = None


Source = Annotated[DataSource | UrlSource | FileSource, Field(discriminator="type")]
"""Where a part's bytes come from."""


class TextPart(Wire):
    """A text among other parts."""

    type: Literal["text"] = "text"
    id: Name | None = None
    text: str
    metadata: Any = None


class MediaPart(Wire):
    """An image, a recording, a video or a document."""

    type: Literal["image", "audio", "video", "document"]
    id: Name | None = None
    source: Source
    metadata: Any = None


Part = Annotated[TextPart | MediaPart, Field(discriminator="type")]
"""An AG-UI 1.0 content part."""
Content = Annotated[
    Annotated[str, Tag("text")] | Annotated[list[Part], Field(min_length=1, max_length=MAX_PARTS), Tag("parts")],
    Discriminator(lambda value: "parts" if isinstance(value, list) else "text"),
]
"""What a user says: a text, or a list of parts."""


class ValueOperation(Wire):
    """Puts or expects a value (RFC 6902, sections 4.1, 4.3 and 4.6)."""

    nullable = frozenset({"value"})

    op: Literal["add", "replace", "test"]
    path: Pointer
    value: Any


class RemoveOperation(Wire):
    """Takes a value away (RFC 6902, section 4.2)."""

    op: Literal["remove"]
    path: Pointer


class MoveOperation(Wire):
    """Takes a value from elsewhere in the document (RFC 6902, sections 4.4 and 4.5)."""

    op: Literal["move", "copy"]
    from_: Annotated[Pointer, Field(alias="from")]
    path: Pointer


Operation = Annotated[ValueOperation | RemoveOperation | MoveOperation, Field(discriminator="op")]
"""One operation of a JSON Patch (RFC 6902)."""


class Hello(Wire):
    """The first frame of a connection."""

    type: Literal["hello"] = "hello"
    client: Client
    session: Name | None = None
    """The session to resume; absent for a new one."""
    agent: Name | None = None
    since: Position | None = None
    """The last event this client handled; absent for the log's start."""
    token: Annotated[str, Field(max_length=MAX_TOKEN)] | None = None
    profile: Name | None = None


class Ping(Wire):
    """Asks for a `pong`."""

    type: Literal["ping"] = "ping"
    t: Scalar | None = None
    """Echoed."""


class Counted(Wire):
    """An input: it has a number on the wire and is kept until it is done."""

    n: Annotated[int, Field(ge=1, le=MAX_NUMBER)] = 0
    """The client's counter, from 1; 0 in an input that was read from the store or made by the server."""


class MessageInput(Counted):
    """The user says something."""

    type: Literal["message"] = "message"
    content: Content
    id: Name | None = None
    metadata: dict[str, Any] | None = None
    command: Name | None = None


class AnswerInput(Counted):
    """The user answers an ask, or declines to."""

    type: Literal["answer"] = "answer"
    ask: Name
    value: Any = None
    """The answer, which may be null."""
    cancelled: bool | None = None
    """Whether the user declines; false is the same as absent."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if ("value" in self.model_fields_set) == bool(self.cancelled):
            raise PydanticCustomError("answer", "Exactly one of value and cancelled is needed")
        return self

    def wire(self) -> dict[str, Any]:
        """As for every frame, but a null `value` is an answer."""
        outcome = {"cancelled": True} if self.cancelled else {"value": self.value}
        return {"n": self.n, "type": self.type, "ask": self.ask, **outcome}


class ActionInput(Counted):
    """The user pressed a button."""

    type: Literal["action"] = "action"
    name: Name
    payload: dict[str, Any]
    for_: Annotated[Name | None, Field(alias="for")] = None
    """The message the button belongs to."""


class SettingsInput(Counted):
    """The user sent the settings form."""

    type: Literal["settings"] = "settings"
    values: dict[str, Any]


class StateInput(Counted):
    """The user changed the shared state."""

    type: Literal["state"] = "state"
    patch: Annotated[list[Operation], Field(min_length=1, max_length=MAX_OPERATIONS)]


class EditInput(Counted):
    """The user puts another content in place of a message; what came after it is removed."""

    type: Literal["edit"] = "edit"
    id: Name
    content: Content


class FeedbackInput(Counted):
    """The user judges a message."""

    type: Literal["feedback"] = "feedback"
    for_: Annotated[Name, Field(alias="for")]
    value: Scalar
    comment: Annotated[str, Field(max_length=MAX_COMMENT)] | None = None


class CancelInput(Counted):
    """The user stops a turn."""

    type: Literal["cancel"] = "cancel"
    turn: Name | None = None
    """The turn to stop; absent for the oldest one that is not done."""


class EndInput(Counted):
    """The user ends the session."""

    type: Literal["end"] = "end"


Durable = Annotated[
    MessageInput
    | AnswerInput
    | ActionInput
    | SettingsInput
    | StateInput
    | EditInput
    | FeedbackInput
    | CancelInput
    | EndInput,
    Field(discriminator="type"),
]
"""Every input."""
ClientFrame = Annotated[Hello | Durable | Ping, Field(discriminator="type")]
"""Everything a client sends."""
