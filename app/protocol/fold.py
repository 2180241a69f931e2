"""A log folded into what it adds up to: messages, shared state, and what has begun and not ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import orjson

from app.protocol import events
from app.protocol.events import MAX_STATE_BYTES, MAX_SUPERSEDED, Event, Patch
from app.protocol.frames import MAX_OUT_BYTES, START, Events, Position
from app.protocol.patch import PatchError, apply_patch
from app.protocol.shelf import Shelf
from app.protocol.values import MAX_VALUE_BYTES, cut, size, text_size

MAX_MESSAGES = 200
"""Messages that are kept."""
MESSAGE_BYTES = MAX_VALUE_BYTES
"""JSON bytes of one message: a longer text loses its end, metadata and activities their largest members."""
MESSAGES_BYTES = 448 * 1024
"""JSON bytes of all messages together."""
MAX_OPEN = 256
"""Texts, tool calls, steps and asks that are known to be open; past it the oldest no longer is."""
OPEN_BYTES = 64 * 1024
"""JSON bytes of all that is open, together."""
SNAPSHOT_BYTES = MAX_OUT_BYTES - 16 * 1024
"""JSON bytes of a snapshot, so that its `reset` frame fits. The state, all that is open and the newest message
always do; older messages as far as there is room."""


class _Turn(NamedTuple):
    """A turn that runs."""

    attempt: int
    shown: dict[str, None]
    """The ids of what it has shown, in order, as keys."""


class Fold:
    """A log, folded: feed it the frames in order. How the log was cut into frames and sittings makes no difference.

    Bounded: MAX_MESSAGES, MESSAGES_BYTES, MAX_OPEN, OPEN_BYTES, MAX_STATE_BYTES. What is past a bound goes, oldest
    first and what is still open last, and `truncated` says so for good.
    """

    def __init__(self) -> None:
        self.position: Position = START
        """Of the last event that was applied."""
        self._turn: str | None = None
        self._attempt = 0
        self._turns: dict[str, _Turn] = {}
        self._open: Shelf[tuple[str, str]] = Shelf(MAX_OPEN, OPEN_BYTES)
        self._messages: Shelf[str] = Shelf(MAX_MESSAGES, MESSAGES_BYTES, self._is_open)
        self._state: Any = None
        self._cut = False

    @property
    def truncated(self) -> bool:
        """Whether anything is missing because of a bound."""
        return self._cut or self._messages.lost or self._open.lost

    def apply(self, frame: Events | Mapping[str, Any]) -> None:
        """Fold one `events` frame, a model or parsed; events up to `position` are passed over.

        Raises: ValueError if there are events missing between `position` and the frame.
        """
        members = frame.__dict__ if isinstance(frame, Events) else frame
        if members["seq"] > self.position.seq + 1:
            raise ValueError(f"events from {members['seq']} do not follow {self.position.seq}")
        self._turn, self._attempt = members["turn"], members["attempt"]
        for seq, event in enumerate(members["events"], members["seq"]):
            if seq > self.position.seq:
                self._fold(event)
                self.position = Position(seq, members["mark"])

    def snapshot(self) -> dict[str, Any]:
        """The `snapshot` of a `reset` frame, at most SNAPSHOT_BYTES. Encode it before more is applied: it is a view."""
        turns = [{"kind": "turn", "id": id_, "attempt": turn.attempt} for id_, turn in self._turns.items()]
        rest = {"state": self._state, "open": [*turns, *self._open]}
        room = SNAPSHOT_BYTES - size(rest)
        messages: list[dict[str, Any]] = []
        for message in reversed(list(self._messages)):
            room -= self._messages.size(message["id"]) + 1
            if room < 0:
                return {**rest, "messages": messages[::-1], "truncated": True}
            messages.append(message)
        return {**rest, "messages": messages[::-1], "truncated": self.truncated}

    def shown(self, turn: str) -> list[str]:
        """The ids of messages, tool calls and activities of a running turn that are not superseded or removed.

        In the order they came; the last MAX_SUPERSEDED. Empty for a turn that does not run.
        """
        running = self._turns.get(turn)
        return list(running.shown) if running else []

    def closing_events(self) -> list[Event]:
        """What ends every text, tool call, step and ask that a running turn has open, last begun first."""
        ours = [thing for thing in self._open if thing["turn"] in self._turns]
        return [_CLOSERS[thing["kind"]](thing["id"]) for thing in reversed(ours)]

    def dump(self) -> bytes:
        """All of it, as JSON for `load`."""
        members = {
            "position": list(self.position),
            "turns": [[id_, turn.attempt, list(turn.shown)] for id_, turn in self._turns.items()],
            "open": list(self._open),
            "messages": list(self._messages),
            "state": self._state,
            "truncated": self.truncated,
        }
        return orjson.dumps(members)

    @classmethod
    def load(cls, dumped: bytes) -> Self:
        """The fold that `dump` wrote. Raises: ValueError if it is none."""
        fold = cls()
        try:
            members = orjson.loads(dumped)
            seq, mark = members["position"]
            fold.position = Position(seq, mark)
            for id_, attempt, shown in members["turns"]:
                fold._turns[id_] = _Turn(attempt, dict.fromkeys(shown))
            for thing in members["open"]:
                fold._open.put((thing["kind"], thing["id"]), thing)
            for message in members["messages"]:
                fold._messages.put(message["id"], message)
            fold._state, fold._cut = members["state"], members["truncated"]
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a stored fold: {error}") from None
        return fold

    # What follows folds single events. Ids that are not there were trimmed, or removed: such events pass.

    def _fold(self, event: Event) -> None:
        kind = event["type"]
        if kind == "CUSTOM":
            on_custom = _CUSTOM.get(event["name"])
            if on_custom is not None:
                on_custom(self, event["value"])
        elif (on_event := _EVENTS.get(kind)) is not None:
            on_event(self, event)

    def _run_started(self, _: Event) -> None:
        if self._turn is not None:
            self._turns[self._turn] = _Turn(self._attempt, {})

    def _run_ended(self, _: Event) -> None:
        if self._turn is None or self._turns.pop(self._turn, None) is None:
            return
        for thing in list(self._open):
            if thing["turn"] == self._turn:
                self._open.drop((thing["kind"], thing["id"]))

    def _text_start(self, event: Event) -> None:
        message = {"id": event["messageId"], "role": event.get("role") or "assistant", "content": ""}
        message |= {member: event[member] for member in ("name", "metadata") if member in event}
        self._begin("text", message["id"])
        self._add(message)

    def _text_content(self, event: Event) -> None:
        message = self._messages.get(event["messageId"])
        if message is not None and ("text", message["id"]) in self._open:
            self._extend(message["id"], message, "content", event["delta"])

    def _text_end(self, event: Event) -> None:
        self._open.drop(("text", event["messageId"]))

    def _tool_call_start(self, event: Event) -> None:
        id_ = event["toolCallId"]
        function = {"name": event["toolCallName"], "arguments": ""}
        message = {"id": id_, "role": "assistant", "toolCalls": [{"id": id_, "type": "function", "function": function}]}
        metadata = dict(event.get("metadata") or {})
        if "parentMessageId" in event:
            metadata["parley"] = {**events.parley_of(metadata), "parent": event["parentMessageId"]}
        if metadata:
            message["metadata"] = metadata
        self._begin("tool_call", id_)
        self._add(message)

    def _tool_call_args(self, event: Event) -> None:
        message = self._messages.get(event["toolCallId"])
        if message is not None and ("tool_call", message["id"]) in self._open:
            self._extend(message["id"], message["toolCalls"][0]["function"], "arguments", event["delta"])

    def _tool_call_end(self, event: Event) -> None:
        self._open.drop(("tool_call", event["toolCallId"]))

    def _tool_call_result(self, event: Event) -> None:
        call, content = event["toolCallId"], event["content"]
        self._add({"id": event["messageId"], "role": "tool", "toolCallId": call, "content": content})

    def _activity_snapshot(self, event: Event) -> None:
        id_, content = event["messageId"], event["content"]
        activity_type = event["activityType"]
        self._track_step(id_, activity_type, content)
        self._add({"id": id_, "role": "activity", "activityType": activity_type, "content": content})

    def _activity_delta(self, event: Event) -> None:
        message = self._messages.get(event["messageId"])
        if message is None or message["role"] != "activity":
            return
        content = self._patched(message["content"], event["patch"])
        if isinstance(content, dict):
            self._track_step(message["id"], message["activityType"], content)
            self._keep({**message, "content": content})

    def _track_step(self, id_: str, activity_type: str, content: dict[str, Any]) -> None:
        if activity_type == "step" and content.get("status") == "running":
            self._begin("step", id_)
        else:
            self._open.drop(("step", id_))

    def _state_snapshot(self, event: Event) -> None:
        self._set_state(event["snapshot"])

    def _state_delta(self, event: Event) -> None:
        self._set_state(self._patched(self._state, event["delta"]))

    def _set_state(self, state: Any) -> None:
        if size(state) > MAX_STATE_BYTES:
            self._cut = True
        else:
            self._state = state

    def _patched(self, document: Any, patch: Patch) -> Any:
        try:
            return apply_patch(document, patch)
        except PatchError:  # it does not apply at a client either
            return document

    def _superseded(self, value: Event) -> None:
        for id_ in value["messages"]:
            self._remove(id_)

    def _message_removed(self, value: Event) -> None:
        self._remove(value["messageId"])

    def _message_updated(self, value: Event) -> None:
        message = self._messages.get(value["messageId"])
        if message is None or not isinstance(message.get("content"), str):
            return
        own = {member: value[member] for member in ("content", "name", "metadata") if member in value}
        ours = {member: value[member] for member in value if member not in own and member != "messageId"}
        self._keep({**message, **own})
        if ours:
            self._annotate(message["id"], ours)

    def _actions(self, value: Event) -> None:
        self._annotate(value["messageId"], {"actions": value["actions"]})

    def _element(self, value: Event) -> None:
        id_ = value.get("messageId")
        message = self._messages.get(id_) if isinstance(id_, str) else None
        if message is not None:
            others = events.parley_of(message.get("metadata")).get("elements", [])
            kept = [other for other in others if other.get("id") != value.get("id")]
            self._annotate(message["id"], {"elements": [*kept, value]})

    def _ask(self, value: Event) -> None:
        self._begin("ask", value["id"], value=value)

    def _ask_resolved(self, value: Event) -> None:
        self._open.drop(("ask", value["id"]))
