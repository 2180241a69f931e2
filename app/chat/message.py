"""Messages: what a user said, and what an agent says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import orjson

from app.chat.action import Action, shown_actions
from app.chat.element import MAX_ELEMENTS, Element
from app.chat.naming import shown_name
from app.errors import OutsideTurn
from app.protocol import events
from app.protocol.events import Event
from app.protocol.inputs import EditInput, MessageInput, Part, TextPart
from app.protocol.values import clean
from app.runtime import context, outside
from app.runtime.turn import Turn


class Message:
    """A message of the conversation.

    One that a handler receives holds what the user said: `content` is its text, `parts` its AG-UI input parts
    if it had any. One that a handler makes is shown by `send`, or piece by piece by `stream_token`; its `actions`
    and `elements`, at most 32 each, are shown with it; `update` shows actions that have changed and new elements.
    """

    def __init__(
        self,
        content: str = "",
        author: str | None = None,
        *,
        actions: Sequence[Action] | None = None,
        elements: Sequence[Element] | None = None,
        metadata: dict[str, Any] | None = None,
        id: str | None = None,  # noqa: A002  # the name authors know
    ) -> None:
        if not isinstance(content, str):
            raise TypeError(f"content is a {type(content).__name__}, not a string: str() or json.dumps() it")
        self._content = content
        self._pieces: list[str] = []
        self.author = author
        self.actions = list(actions or ())
        self.elements = list(elements or ())
        self.metadata = dict(metadata or {})
        self.id = clean(id or "")
        self.parts: list[dict[str, Any]] = []
        self.command: str | None = None
        self._shown = False
        self._open = False
        self._name: tuple[str, str] | None = None
        self._attached: tuple[list[dict[str, Any]], set[str]] = ([], set())

    @property
    def content(self) -> str:
        """Its text so far."""
        if self._pieces:  # joined here: to add each token to a long text would copy it as often
            self._content += "".join(self._pieces)
            self._pieces.clear()
        return self._content

    @content.setter
    def content(self, content: str) -> None:
        self._pieces.clear()
        self._content = content

    @classmethod
    def incoming(cls, said: MessageInput | EditInput) -> Self:
        """The message a user sent."""
        content = said.content
        text = content if isinstance(content, str) else _text(content)
        metadata = said.metadata if isinstance(said, MessageInput) else None
        message = cls(text, "user", metadata=metadata, id=said.id)
        if not isinstance(content, str):
            message.parts = [events.plain_part(part) for part in content]
        message.command = said.command if isinstance(said, MessageInput) else None
        message._shown = True
        return message

    async def send(self) -> Self:
        """Show the message, or end its streaming. Returns itself, without waiting for the store.

        In a task that goes on after its turn has ended, it is shown outside any turn; then the store is waited for.

        A message sent without content is open: `stream_token` adds to it until `update` or the turn's end.
        Raises: OutsideTurn.
        """
        turn = context.turn()
        if turn.is_over:
            await self._push(turn)
        elif self._open:
            await self._close(turn)
        elif self._shown:
            await self.update()
        elif content := self.content:
            name = await self._named(turn)
            attached = await self._attachments(turn)
            self._shown = True
            shown = events.text_message(self.id, content, name=name, metadata=self._metadata())
            await turn.emit([*shown, *attached], size=len(content) + _size(attached))
        else:
            await self._start(turn)
        return self

    async def stream_token(self, token: str, is_sequence: bool = False) -> None:  # noqa: FBT001, FBT002  # as authors know it
        """Add to the content and show it; pieces that come close together are joined on their way.

        With `is_sequence` it takes the content's place instead of being added to it. Added to a message that was sent
        with content, it shows at the next `update` or the turn's end.
        Raises: OutsideTurn.
        """
        turn = context.turn()
        if not isinstance(token, str):
            raise TypeError(f"a token is a string, not {type(token).__name__}")
        if not self._shown and not turn.is_over:
            await self._start(turn)
        if is_sequence:
            self.content = ""
        self._pieces.append(token)
        if turn.is_over:
            return  # it is shown by `send`
        if self._open and is_sequence:
            await turn.emit([self._updated()], size=len(token))
        elif self._open:
            if turn.stream(self.id, token):
                await turn.room()
        else:
            turn.opened(self.id, self._updated())

    async def update(self) -> None:
        """Show the content as it is now, or end the streaming if nothing else changed.

        Raises: OutsideTurn; ValueError if the content is longer than 256 KiB.
        """
        turn = context.turn()
        if self._open:
            await self._close(turn)
        else:
            await self._named(turn)
            attached = await self._attachments(turn)
            self._shown = True
            turn.closed(self.id)
            await turn.emit([self._updated(), *attached], size=len(self.content) + _size(attached))

    async def remove(self) -> None:
        """Take the message out of the conversation. Raises: OutsideTurn."""
        turn = context.turn()
        if self._open:
            await self._close(turn)
        await self._named(turn)
        await turn.emit([events.message_removed(self.id)])

    async def remove_actions(self) -> None:
        """Take its buttons away. Raises: OutsideTurn."""
        self.actions = []
        if self._shown:
            turn = context.turn()
            await turn.emit(await self._attachments(turn))

    async def _push(self, turn: Turn) -> None:
        """Show it outside the turn that started this code, and that has ended meanwhile."""
        if self._shown:
            raise OutsideTurn("the turn has ended: what it showed can no longer be changed; send a new message")
        if self.actions or self.elements:
            raise OutsideTurn("the turn has ended: a message with actions or elements can no longer be sent")
        self._shown = True
        name = await self._named(turn)
        self.id = await outside.push(
            turn.session.id, self.content, author=name, metadata=self._metadata(), message_id=self.id
        )

    async def _start(self, turn: Turn) -> None:
        name = await self._named(turn)
        attached = await self._attachments(turn)
        self._shown = self._open = True
        start = events.text_start(self.id, name=name, metadata=self._metadata())
        turn.opened(self.id, events.text_end(self.id))
        await turn.emit([start, *attached], size=_size(attached))
        if self.content and turn.stream(self.id, self.content):
            await turn.room()

    async def _close(self, turn: Turn) -> None:
        attached = await self._attachments(turn)
        self._open = False
        turn.closed(self.id)
        await turn.emit([events.text_end(self.id), *attached], size=_size(attached))

    async def _named(self, turn: Turn) -> str | None:
        """Give it an id; the name it is shown under."""
        self.id = self.id or turn.new_id()
        if self.author is None:
            return None
        if self._name is None or self._name[0] != self.author:
            self._name = (self.author, await shown_name(turn, self.author))
        return self._name[1]

    async def _attachments(self, turn: Turn) -> list[Event]:
        """What shows those of its actions and elements that clients have not seen so yet."""
        if not (self.actions or self.elements or self._attached[0]):
            return []
        if len(self.elements) > MAX_ELEMENTS:
            raise ValueError(f"{len(self.elements)} elements of one message, at most {MAX_ELEMENTS}")
        shown, buttons = self._attached[1], [action.as_dict() for action in self.actions]
        made = [shown_actions(self.id, self.actions)] if buttons != self._attached[0] else []
        made += [await element.shown(turn, self.id) for element in self.elements if element.id not in shown]
        self._attached = (buttons, {element.id for element in self.elements})
        return made

    def _metadata(self) -> dict[str, Any] | None:
        return {"parley": self.metadata} if self.metadata else None

    def _updated(self) -> Event:
        name = self._name[1] if self._name else self.author
        fields = {"name": name, "metadata": self._metadata()}
        given = {name: value for name, value in fields.items() if value is not None}
        return events.message_updated(self.id, self.content, **given)


class ErrorMessage(Message):
    """A message that says what went wrong; shown as an error."""

    def __init__(self, content: str = "", author: str | None = None, **fields: Any) -> None:
        super().__init__(content, author, **fields)
        self.metadata["error"] = True


def _text(parts: Sequence[Part]) -> str:
    return "\n".join(part.text for part in parts if isinstance(part, TextPart))


def _size(attached: Sequence[Event]) -> int:
    """About how many bytes a message's events have beside its text."""
    return 256 + (len(orjson.dumps(attached)) if attached else 0)
