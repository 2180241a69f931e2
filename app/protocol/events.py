"""AG-UI 1.0 events as plain dicts: one builder for each thing that happens, and the closed list of members.

A builder never makes an event that cannot be written or is too large for a frame: what has no bound of its own is
checked, and ValueError names what is too large and the limit; TypeError comes of a text that is none. Values are
JSON at once: what their owner changes later does not reach the event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

import orjson

from app.protocol.frames import MAX_NAME, MAX_OUT_BYTES
from app.protocol.inputs import Part, TextPart
from app.protocol.values import MAX_BUILT_DEPTH, MAX_VALUE_BYTES, clean, text_size, too_deep

Event = dict[str, Any]
"""One AG-UI event, as it stands in an `events` frame."""
Patch = Sequence[Mapping[str, Any]]
"""A JSON Patch (RFC 6902)."""
Role = Literal["assistant", "user", "system", "developer"]
RunErrorCode = Literal["handler_error", "cancelled", "rejected", "interrupted", "timeout", "poisoned"]
RUN_ERROR_CODES: frozenset[str] = frozenset(get_args(RunErrorCode))
"""Why a turn did not finish."""
StepStatus = Literal["running", "done", "failed", "cancelled"]
"""A step is open while it is running."""
AskStatus = Literal["answered", "cancelled", "expired"]
"""How an ask ended; only an answered one has a value."""

MAX_EVENT_BYTES = MAX_OUT_BYTES - 16 * 1024
"""JSON bytes of one event: the rest of a frame is its envelope."""
MAX_DELTA = 32 * 1024
"""Characters of one piece of text; as JSON a character takes 6 bytes at most."""
MAX_STATE_BYTES = 128 * 1024
"""JSON bytes of the shared state."""
MAX_FORM_BYTES = 40 * 1024
"""JSON bytes of the settings form with its values: it stands in every snapshot."""
MAX_ASK_BYTES = 32 * 1024
"""JSON bytes of one ask."""
MAX_SUPERSEDED = 1000
"""Ids in one `superseded`."""
MAX_ERROR = 4000
"""Characters of an error's message; a longer one is cut."""


def run_started(session: str, turn: str) -> Event:
    """A turn begins, or begins again as its next attempt."""
    return {"type": "RUN_STARTED", "threadId": session, "runId": turn}


def run_finished(session: str, turn: str) -> Event:
    """A turn has ended well."""
    return {"type": "RUN_FINISHED", "threadId": session, "runId": turn}


def run_error(message: str, code: RunErrorCode) -> Event:
    """A turn has ended otherwise. A `message` over MAX_ERROR characters is cut, so that a turn can always end."""
    message = clean(message)
    if len(message) > MAX_ERROR:
        message = message[: MAX_ERROR - 1] + "…"
    return {"type": "RUN_ERROR", "message": message, "code": code}


def text_start(
    message_id: str,
    role: Role = "assistant",
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Event:
    """A message begins. Raises: ValueError if the id or `name` is over MAX_NAME, or `metadata` is too large."""
    event: Event = {"type": "TEXT_MESSAGE_START", "messageId": _named("id", message_id), "role": role}
    if name is not None:
        event["name"] = _named("name", name)
    if metadata is None:
        return event
    return _checked({**event, "metadata": metadata}, "metadata")


def text_content(message_id: str, delta: str) -> Event:
    """A message goes on. Raises: ValueError if `delta` is over MAX_DELTA characters; `pieces` splits it."""
    return {"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": _piece(delta)}


def text_end(message_id: str) -> Event:
    """A message is complete."""
    return {"type": "TEXT_MESSAGE_END", "messageId": message_id}


def text_message(
    message_id: str,
    content: str,
    role: Role = "assistant",
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> list[Event]:
    """A whole message of any length. Raises: ValueError as `text_start` does."""
    start = text_start(message_id, role, name, metadata)
    deltas = [{"type": "TEXT_MESSAGE_CONTENT", "messageId": message_id, "delta": piece} for piece in pieces(content)]
    return [start, *deltas, text_end(message_id)]


def pieces(text: str) -> list[str]:
    """`text` in pieces of at most MAX_DELTA characters; no piece for an empty text."""
    text = clean(text)
    return [text[start : start + MAX_DELTA] for start in range(0, len(text), MAX_DELTA)]


def user_message(
    message_id: str, content: str | Sequence[Part], metadata: Mapping[str, Any] | None = None
) -> list[Event]:
    """The echo of what a user said. Of parts the texts are its content, and all stand in `metadata.parley.parts`.

    Raises: ValueError if parts and metadata are too large together; those of a decoded input never are.
    """
    if isinstance(content, str):
        return text_message(message_id, content, "user", metadata=metadata)
    text = "\n".join(part.text for part in content if isinstance(part, TextPart))
    ours = {**parley_of(metadata), "parts": [plain_part(part) for part in content]}
    return text_message(message_id, text, "user", metadata={**(metadata or {}), "parley": ours})


def parley_of(metadata: Mapping[str, Any] | None) -> dict[str, Any]:
    """A copy of `metadata.parley`; empty if it is no object, since metadata may be a client's."""
    ours = (metadata or {}).get("parley")
    return dict(ours) if isinstance(ours, dict) else {}


def superseded(message_ids: Iterable[str]) -> Event:
    """An earlier attempt's messages, tool calls and activities no longer count.

    Raises: ValueError if they are more than MAX_SUPERSEDED, which `Fold.shown` never gives.
    """
    ids = list(message_ids)
    if len(ids) > MAX_SUPERSEDED:
        raise ValueError(f"{len(ids)} messages superseded at once, at most {MAX_SUPERSEDED}")
    return _custom("superseded", {"messages": ids})


def message_updated(message_id: str, content: str, **fields: Any) -> Event:
    """A message has another content, and another `name` or `metadata` if given; other fields go into `metadata.parley`.

    Raises: ValueError if `content` is over MAX_VALUE_BYTES as JSON (unlike a new message it cannot be split) or
    `name` over MAX_NAME; TypeError if `metadata` is no object.
    """
    content = clean(content)
    if len(content) * 6 > MAX_VALUE_BYTES and (got := text_size(content)) > MAX_VALUE_BYTES:
        raise ValueError(
            f"content: {got} bytes as JSON in an update, at most {MAX_VALUE_BYTES}: send the rest as a new message"
        )
    if not isinstance(fields.get("metadata", {}), Mapping):
        raise TypeError("metadata: needs an object")
    if "name" in fields:
        fields["name"] = _named("name", fields["name"])
    return _custom("message_updated", {**fields, "messageId": message_id, "content": content})


def message_removed(message_id: str) -> Event:
    """A message is gone."""
    return _custom("message_removed", {"messageId": message_id})


def tool_call_start(
    tool_call_id: str,
    name: str,
    parent_message_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Event:
    """A tool is being called. Raises: ValueError if an id or `name` is over MAX_NAME, or `metadata` is too large."""
    event: Event = {"type": "TOOL_CALL_START", "toolCallId": _named("id", tool_call_id)}
    event["toolCallName"] = _named("name", name)
    if parent_message_id is not None:
        event["parentMessageId"] = _named("parent", parent_message_id)
    if metadata is None:
        return event
    return _checked({**event, "metadata": metadata}, "metadata")


def tool_call_args(tool_call_id: str, delta: str) -> Event:
    """More of the arguments' JSON. Raises: ValueError if `delta` is over MAX_DELTA characters."""
    return {"type": "TOOL_CALL_ARGS", "toolCallId": tool_call_id, "delta": _piece(delta)}


def tool_call_end(tool_call_id: str) -> Event:
    """The arguments are complete."""
    return {"type": "TOOL_CALL_END", "toolCallId": tool_call_id}


def tool_call_result(message_id: str, tool_call_id: str, content: str) -> Event:
    """What the tool returned, as a message of its own. Raises: ValueError if `content` is too large."""
    event: Event = {"type": "TOOL_CALL_RESULT", "messageId": _named("id", message_id)}
    return _checked({**event, "toolCallId": tool_call_id, "content": clean(content), "role": "tool"}, "content")


def step_snapshot(
    message_id: str,
    name: str,
    *,
    step_type: str,
    parent: str | None = None,
    step_input: Any = None,
    output: Any = None,
    status: StepStatus = "running",
) -> Event:
    """A step that is no tool, as a whole; `parent` is the step it stands in. Raises: ValueError if too large."""
    content = {"name": name, "type": step_type, "parent": parent, "input": step_input, "output": output}
    return _activity(message_id, "step", {**content, "status": status})


def task_list(message_id: str, content: Mapping[str, Any]) -> Event:
    """A task list, as a whole. Raises: ValueError if it is too large."""
    return _activity(message_id, "task_list", content)


def activity_delta(message_id: str, activity_type: str, patch: Patch) -> Event:
    """A step or a task list changes. Raises: ValueError if `patch` is too large."""
    event: Event = {"type": "ACTIVITY_DELTA", "messageId": message_id, "activityType": activity_type}
    return _checked({**event, "patch": patch}, "a patch")


def ask(
    ask_id: str,
    kind: str,
    prompt: str,
    *,
    expires_at: int,
    options: Sequence[Any] | None = None,
    schema: Mapping[str, Any] | None = None,
) -> Event:
    """The user is asked; `expires_at` is in ms by the store's clock. Raises: ValueError if over MAX_ASK_BYTES."""
    value: Event = {"id": _named("id", ask_id), "kind": kind, "prompt": clean(prompt), "expiresAt": expires_at}
    if options is not None:
        value["options"] = options
    if schema is not None:
        value["schema"] = schema
    return _custom("ask", value, MAX_ASK_BYTES)


def ask_resolved(ask_id: str, status: AskStatus, value: Any = None) -> Event:
    """An ask has ended; `value` counts if it was answered. Raises: ValueError if it is too large."""
    answer = {"value": value} if status == "answered" else {}
    return _custom("ask_resolved", {"id": ask_id, "status": status, **answer})


def actions(message_id: str, buttons: Sequence[Mapping[str, Any]]) -> Event:
    """The buttons of a message, all of them. Raises: ValueError if they are too large."""
    return _custom("actions", {"messageId": message_id, "actions": buttons})


def element(element_id: str, value: Mapping[str, Any], message_id: str | None = None) -> Event:
    """An element, of a message if one is named. Raises: ValueError if it is too large."""
    of = {} if message_id is None else {"messageId": message_id}
    return _custom("element", {**value, "id": element_id, **of})


def element_removed(element_id: str) -> Event:
    """An element is gone, wherever it stood."""
    return _custom("element_removed", {"id": element_id})


def settings_form(value: Mapping[str, Any]) -> Event:
    """The settings form, in the place of the one before. Raises: ValueError if it is over MAX_FORM_BYTES."""
    return _custom("settings", value, MAX_FORM_BYTES)


def toast(message: str, kind: str = "info") -> Event:
    """A short notice that passes: nothing keeps it. Raises: ValueError if it is too large."""
    return _custom("toast", {"message": clean(message), "type": kind})


def state_snapshot(state: Any) -> Event:
    """The shared state as a whole. Raises: ValueError if it is over MAX_STATE_BYTES."""
    return _checked({"type": "STATE_SNAPSHOT", "snapshot": state}, "the shared state", MAX_STATE_BYTES)


def state_delta(patch: Patch) -> Event:
    """The shared state changes. Raises: ValueError if `patch` is too large."""
    return _checked({"type": "STATE_DELTA", "delta": patch}, "a patch", MAX_STATE_BYTES)


def _activity(message_id: str, activity_type: str, content: Mapping[str, Any]) -> Event:
    event: Event = {"type": "ACTIVITY_SNAPSHOT", "messageId": _named("id", message_id)}
    event["activityType"] = activity_type
    return _checked({**event, "content": content}, activity_type)


def _custom(name: str, value: Mapping[str, Any], most: int = MAX_EVENT_BYTES) -> Event:
    return _checked({"type": "CUSTOM", "name": f"parley.{name}", "value": value}, name, most)


def _checked(event: Event, what: str, most: int = MAX_EVENT_BYTES) -> Event:
    """A copy of `event` that is JSON, within `most` bytes and MAX_BUILT_DEPTH. Raises: ValueError naming `what`."""
    try:
        encoded = orjson.dumps(event)
    except TypeError as error:
        raise ValueError(f"{what}: not JSON: {error}") from None
    if len(encoded) > most:
        raise ValueError(f"{what}: {len(encoded)} bytes as JSON, at most {most}")
    checked: Event = orjson.loads(encoded)
    if too_deep(checked, MAX_BUILT_DEPTH):
        raise ValueError(f"{what}: nested more than {MAX_BUILT_DEPTH} levels deep")
    return checked


def _named(what: str, name: str) -> str:
    name = clean(name)
    if len(name) > MAX_NAME:
        raise ValueError(f"{what}: {len(name)} characters, at most {MAX_NAME}")
    return name


def _piece(delta: str) -> str:
    delta = clean(delta)
    if len(delta) > MAX_DELTA:
        raise ValueError(f"delta: {len(delta)} characters, at most {MAX_DELTA}: split it with pieces()")
    return delta


def plain_part(part: Part) -> dict[str, Any]:
    """A part as JSON, its source too."""
    members = part.wire()
    return members if isinstance(part, TextPart) else {**members, "source": part.source.wire()}


_ANY = frozenset({"type", "timestamp", "rawEvent", "metadata"})
_WORK = _ANY | {"subagentRunId"}
FIELDS: dict[str, frozenset[str]] = {
    "RUN_STARTED": _ANY | {"threadId", "runId", "protocolVersion", "parentRunId", "input"},
    "RUN_FINISHED": _ANY | {"threadId", "runId", "result", "outcome", "usage"},
    "RUN_ERROR": _ANY | {"message", "code", "usage"},
    "TEXT_MESSAGE_START": _WORK | {"messageId", "role", "name"},
    "TEXT_MESSAGE_CONTENT": _WORK | {"messageId", "delta"},
    "TEXT_MESSAGE_END": _WORK | {"messageId"},
    "TOOL_CALL_START": _WORK | {"toolCallId", "toolCallName", "parentMessageId"},
    "TOOL_CALL_ARGS": _WORK | {"toolCallId", "delta"},
    "TOOL_CALL_END": _WORK | {"toolCallId"},
    "TOOL_CALL_RESULT": _WORK | {"messageId", "toolCallId", "content", "role"},
    "STATE_SNAPSHOT": _WORK | {"snapshot"},
    "STATE_DELTA": _WORK | {"delta"},
    "ACTIVITY_SNAPSHOT": _WORK | {"messageId", "activityType", "content", "replace"},
    "ACTIVITY_DELTA": _WORK | {"messageId", "activityType", "patch"},
    "CUSTOM": _WORK | {"name", "value"},
}
"""Every event type that Parley makes, and all members the AG-UI 1.0 models know for it."""
