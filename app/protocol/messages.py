"""The messages of a fold: AG-UI messages as they grow and change, each and all together bounded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.protocol.events import Event, parley_of
from app.protocol.shelf import Shelf
from app.protocol.values import MAX_VALUE_BYTES, cut, size, text_size

MAX_MESSAGES = 200
"""Messages that are kept."""
MESSAGE_BYTES = MAX_VALUE_BYTES
"""JSON bytes of one message: a longer text loses its end, metadata and activities their largest members."""
MESSAGES_BYTES = 448 * 1024
"""JSON bytes of all messages together."""

Message = dict[str, Any]
"""An AG-UI message as it stands in a snapshot."""


class Messages(Shelf[str]):
    """Messages by id, oldest first. An id that is not there was trimmed or removed: what changes it does nothing."""

    def __init__(self, is_open: Callable[[str], bool]) -> None:
        super().__init__(MAX_MESSAGES, MESSAGES_BYTES, is_open)

    def add(self, message: Message) -> None:
        """Keep a new message, or another form of one that is there."""
        got = size(message)
        if got > MESSAGE_BYTES:
            message = _fitted(message)
            got = size(message)
            self.lost = True
        self.put(message["id"], message, got)

    def extend(self, id_: str, holder: dict[str, Any], member: str, delta: str) -> None:
        """Append to the text `holder[member]`, somewhere in the message `id_`."""
        got, room = text_size(delta), MESSAGE_BYTES - self.size(id_)
        if got > room:
            delta = cut(delta, room)
            got = text_size(delta)
            self.lost = True
        text = holder[member]
        holder[member] = ""  # with one reference left, CPython makes a str longer in place instead of copying it
        text += delta
        holder[member] = text
        self.grown(id_, got)

    def update(self, id_: str, fields: dict[str, Any]) -> None:
        """Change a text message: `content`, `name`, `metadata`, and all other fields within `metadata.parley`.

        Other metadata leave the message its buttons and elements.
        """
        message = self.get(id_)
        if message is None or not isinstance(message.get("content"), str):
            return
        own: Message = {name: fields[name] for name in ("content", "name", "metadata") if name in fields}
        had = parley_of(message.get("metadata"))
        stays = {name: had[name] for name in ("actions", "elements") if name in had}
        self.add(_annotated({**message, **own}, stays | {name: fields[name] for name in fields if name not in own}))

    def set_actions(self, id_: str, actions: list[Any]) -> None:
        """Give a message its buttons."""
        message = self.get(id_)
        if message is not None:
            self.add(_annotated(message, {"actions": actions}))

    def set_element(self, id_: str, element: dict[str, Any]) -> None:
        """Give a message an element, in place of the one with its id."""
        message = self.get(id_)
        if message is not None:
            elements = list(_elements(message))
            place = next((at for at, other in enumerate(elements) if _is(other, element["id"])), len(elements))
            elements[place : place + 1] = [element]
            self.add(_annotated(message, {"elements": elements}))

    def drop_element(self, element_id: str, but: str = "") -> None:
        """Take an element from whichever message has it, other than the message `but`."""
        for message in list(self):
            elements = _elements(message) if message["id"] != but else []
            left = [element for element in elements if not _is(element, element_id)]
            if len(left) < len(elements):
                self.add(_annotated(message, {"elements": left}))


def of_text(event: Event) -> Message:
    """The message that a TEXT_MESSAGE_START begins."""
    given: Message = {member: event[member] for member in ("name", "metadata") if member in event}
    return {"id": event["messageId"], "role": event.get("role") or "assistant", **given, "content": ""}


def of_tool_call(event: Event) -> Message:
    """The message that a TOOL_CALL_START begins: one of its own under the call's id, its parent in the metadata."""
    id_ = event["toolCallId"]
    call = {"id": id_, "type": "function", "function": {"name": event["toolCallName"], "arguments": ""}}
    given: Message = {"metadata": event["metadata"]} if "metadata" in event else {}
    message = {"id": id_, "role": "assistant", **given, "toolCalls": [call]}
    parent = event.get("parentMessageId")
    return message if parent is None else _annotated(message, {"parent": parent})


def of_tool_result(event: Event) -> Message:
    """The message that a TOOL_CALL_RESULT is."""
    call, content = event["toolCallId"], event["content"]
    return {"id": event["messageId"], "role": "tool", "toolCallId": call, "content": content}


def of_activity(event: Event) -> Message:
    """The message that an ACTIVITY_SNAPSHOT is."""
    activity_type, content = event["activityType"], event["content"]
    return {"id": event["messageId"], "role": "activity", "activityType": activity_type, "content": content}


def of_element(element: dict[str, Any]) -> Message:
    """The message that an element is which stands under none."""
    return {"id": element["id"], "role": "activity", "activityType": "element", "content": element}


def _elements(message: Message) -> list[Any]:
    """The elements under a message."""
    found = parley_of(message.get("metadata")).get("elements")
    return found if isinstance(found, list) else []


def _annotated(message: Message, ours: dict[str, Any]) -> Message:
    """`message` with `ours` in its `metadata.parley`."""
    if not ours:
        return message
    metadata = message.get("metadata") or {}
    return {**message, "metadata": {**metadata, "parley": {**parley_of(metadata), **ours}}}


def _is(element: object, id_: str) -> bool:
    """Whether that is the element `id_`. It may be anything: a client's metadata are its own."""
    return isinstance(element, dict) and element.get("id") == id_


def _fitted(message: Message) -> Message:
    """`message` within MESSAGE_BYTES: the larger of content and metadata gives way first."""
    loose = sorted({"content", "metadata"} & message.keys(), key=lambda member: -size(message[member]))
    for member in loose:
        excess = size(message) - MESSAGE_BYTES
        if excess > 0:
            message = {**message, member: _less(message[member], size(message[member]) - excess)}
    return message


def _less(value: Any, room: int) -> Any:
    """As much of a text or an object as `room` bytes hold; of an object the largest members go."""
    if isinstance(value, str):
        return cut(value, room - 2)
    kept = dict(value)
    for name in sorted(kept, key=lambda name: -size(kept[name])):
        if size(kept) > room:
            del kept[name]
    return kept
