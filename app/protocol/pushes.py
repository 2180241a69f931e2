"""A push: what is said in a session from outside every connection, by a webhook or a job."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from app.protocol import events
from app.protocol.events import Event
from app.protocol.inputs import Content, Counted, MessageInput, Name


class Push(Counted):
    """A message for the session's clients, or with `"as": "user"` one for its agent. Its `n` is always 0."""

    type: Literal["push"] = "push"
    content: Content
    """A text; as the user, also a list of AG-UI input parts."""
    author: Name | None = None
    """The name that the message is shown under. The user's messages have none."""
    metadata: dict[str, Any] | None = None
    """Shown with the message as it is."""
    as_: Annotated[Literal["assistant", "user"] | None, Field(alias="as")] = None
    """Who says it; absent for the assistant."""

    @model_validator(mode="after")
    def _fits_who_says_it(self) -> Self:
        if self.as_ != "user" and not isinstance(self.content, str):
            raise PydanticCustomError("push", 'content should be a string, unless it is sent "as": "user"')
        if self.as_ == "user" and self.author is not None:
            raise PydanticCustomError("push", 'author should be absent from what is sent "as": "user"')
        return self

    @property
    def message(self) -> MessageInput | None:
        """The user's message that this is, if it is one."""
        return MessageInput(content=self.content, metadata=self.metadata) if self.as_ == "user" else None

    def events(self, message_id: str) -> list[Event]:
        """What shows it to the session's clients."""
        assert isinstance(self.content, str)  # noqa: S101  # see above
        return events.text_message(message_id, self.content, name=self.author, metadata=self.metadata)
