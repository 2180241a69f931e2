"""A log folded into what it adds up to: messages, shared state, and what has begun and not ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple, Self

import orjson

from app.protocol.closers import CLOSERS, MESSAGE_KINDS
from app.protocol.events import MAX_FORM_BYTES, MAX_STATE_BYTES, MAX_SUPERSEDED, Event, Patch
from app.protocol.frames import MAX_OUT_BYTES, START, Events, Position
from app.protocol.messages import Message, Messages, of_activity, of_element, of_text, of_tool_call, of_tool_result
from app.protocol.patch import PatchError, apply_patch
from app.protocol.shelf import Shelf
from app.protocol.values import size

MAX_OPEN = 256
"""Texts, tool calls, steps and asks that are known to be open; past it the oldest no longer is."""
OPEN_BYTES = 64 * 1024
"""JSON bytes of all that is open, together."""
SHOWN_BYTES = 400 * 1024
"""JSON bytes of the ids that a turn has shown, so that one `superseded` can name them all."""
SNAPSHOT_BYTES = MAX_OUT_BYTES - 16 * 1024
"""JSON bytes of a snapshot, so that its `reset` frame fits. The state, the settings form, all that is open and
the newest message always do; older messages as far as there is room."""


class _Turn(NamedTuple):
    """A turn that runs."""

    attempt: int
    shown: Shelf[str]
    """What it has shown, as `{id}`."""


class Fold:
    """A log, folded: feed it the frames in order. How the log was cut into frames and sittings makes no difference.

    Bounded by MAX_MESSAGES, MESSAGES_BYTES, MAX_OPEN, OPEN_BYTES, MAX_STATE_BYTES and MAX_FORM_BYTES. What is past a
    bound goes, oldest first and what is still open last, and `truncated` says so for good.
    """

    def __init__(self) -> None:
        self.position: Position = START
        """Of the last event that was applied."""
        self._turn: str | None = None
        self._attempt = 0
        self._turns: dict[str, _Turn] = {}
        self._open: Shelf[tuple[str, str]] = Shelf(MAX_OPEN, OPEN_BYTES)
        self._messages = Messages(self._is_open)
        self._state: Any = None
        self._form: Event | None = None
        self._cut = False

    @property
    def truncated(self) -> bool:
        """Whether anything is missing because of a bound."""
        return self._cut or self._messages.lost or self._open.lost

    @property
    def state(self) -> Any:
        """The shared state, None if there is none."""
        return self._state

    def apply(self, frame: Events | Mapping[str, Any]) -> None:
        """Fold one `events` frame, a model or parsed; events up to `position` are passed over.

        Raises: ValueError if there are events missing between `position` and the frame.
        """
        members = frame.__dict__ if isinstance(frame, Events) else frame
        if members["seq"] > self.position.seq + 1:
            raise ValueError(f"events from {members['seq']} do not follow {self.position.seq}")
        self._turn, self._attempt = members["turn"], members["attempt"]
        new = members["events"][self.position.seq + 1 - members["seq"] :]
        for event in new:
            self._fold(event)
        if new:
            self.position = Position(members["seq"] + len(members["events"]) - 1, members["mark"])

    def snapshot(self) -> dict[str, Any]:
        """The `snapshot` of a `reset` frame, at most SNAPSHOT_BYTES. It is a view: encode it before applying more."""
        turns = [{"kind": "turn", "id": id_, "attempt": turn.attempt} for id_, turn in self._turns.items()]
        rest = {"state": self._state, "open": [*turns, *self._open]}
        if self._form is not None:
            rest["settings"] = self._form
        room = SNAPSHOT_BYTES - size(rest)
        messages: list[Message] = []
        truncated = self.truncated
        for message in reversed(list(self._messages)):
            room -= self._messages.size(message["id"]) + 1
            if room < 0:
                truncated = True
                break
            messages.insert(0, message)
        return {"messages": messages, **rest, "truncated": truncated}

    def shown(self, turn: str) -> list[str]:
        """The ids of messages, tool calls and activities of a running turn that are not superseded or removed.

        In the order they came; the last of them, within MAX_SUPERSEDED and SHOWN_BYTES. None if the turn does not run.
        """
        running = self._turns.get(turn)
        return [thing["id"] for thing in running.shown] if running else []

    def closing_events(self) -> list[Event]:
        """What ends every text, tool call, step and ask that a running turn has open, last begun first."""
        ours = [thing for thing in self._open if thing["turn"] in self._turns]
        return [CLOSERS[thing["kind"]](thing["id"]) for thing in reversed(ours)]

    def open_asks(self) -> set[str]:
        """The ids of the asks that a running turn has open."""
        return {thing["id"] for thing in self._open if thing["kind"] == "ask" and thing["turn"] in self._turns}

    def dump(self) -> bytes:
        """All of it, as JSON for `load`."""
        members = {
            "position": list(self.position),
            "turns": [[id_, turn.attempt, self.shown(id_)] for id_, turn in self._turns.items()],
            "open": list(self._open),
            "messages": list(self._messages),
            "state": self._state,
            "settings": self._form,
            "truncated": self.truncated,
        }
        return orjson.dumps(members)

    @classmethod
    def load(cls, dumped: bytes) -> Self:
        """The fold that `dump` wrote. Raises: ValueError if it is none."""
        fold = cls()
        try:
            fold._restore(orjson.loads(dumped))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"not a stored fold: {error!r}") from None
        return fold

    def _restore(self, members: dict[str, Any]) -> None:
        seq, mark = members["position"]
        self.position = Position(seq, mark)
        for id_, attempt, shown in members["turns"]:
            turn = self._turns[id_] = _Turn(attempt, Shelf(MAX_SUPERSEDED, SHOWN_BYTES))
            for shown_id in shown:
                turn.shown.put(shown_id, {"id": shown_id})
        for thing in members["open"]:
            self._open.put((thing["kind"], thing["id"]), thing)
        for message in members["messages"]:
            self._messages.put(message["id"], message)
        self._state, self._cut = members["state"], members["truncated"]
        self._form = members.get("settings")  # folds that were kept before there were forms have none

    def _fold(self, event: Event) -> None:
        if event["type"] == "CUSTOM":
            on_custom = self._customs.get(event["name"])
            if on_custom is not None:
                on_custom(self, event["value"])
        else:
            on_event = self._events.get(event["type"])
            if on_event is not None:
                on_event(self, event)

    # ---- turns

    def _run_started(self, _: Event) -> None:
        if self._turn is not None:
            self._turns[self._turn] = _Turn(self._attempt, Shelf(MAX_SUPERSEDED, SHOWN_BYTES))

    def _run_ended(self, _: Event) -> None:
        if self._turn in self._turns:
            del self._turns[self._turn]
            for thing in [thing for thing in self._open if thing["turn"] == self._turn]:
                self._end(thing["kind"], thing["id"])

    def _show(self, id_: str) -> None:
        running = None if self._turn is None else self._turns.get(self._turn)
        if running is not None:
            running.shown.put(id_, {"id": id_})

    # ---- what is open

    def _begin(self, kind: str, id_: str, **more: Any) -> None:
        self._open.put((kind, id_), {"kind": kind, "id": id_, "turn": self._turn, **more})

    def _end(self, kind: str, id_: str) -> None:
        self._open.drop((kind, id_))

    def _is_open(self, message_id: str) -> bool:
        return any((kind, message_id) in self._open for kind in MESSAGE_KINDS)

    def _ask(self, value: Event) -> None:
        self._begin("ask", value["id"], value=value)

    def _ask_resolved(self, value: Event) -> None:
        self._end("ask", value["id"])

    # ---- messages

    def _add(self, kind: str, message: Message) -> None:
        """Keep a message, open as `kind` or not; what another one had open under its id is not any more."""
        if self._open:
            for other in MESSAGE_KINDS:
                if other != kind:
                    self._end(other, message["id"])
        if kind:
            self._begin(kind, message["id"])
        self._messages.add(message)

    def _text_start(self, event: Event) -> None:
        message = of_text(event)
        if message["role"] != "user":
            self._show(message["id"])
        self._add("text", message)

    def _text_content(self, event: Event) -> None:
        message = self._messages.get(event["messageId"])
        if message is not None and ("text", message["id"]) in self._open:
            self._messages.extend(message["id"], message, "content", event["delta"])

    def _text_end(self, event: Event) -> None:
        self._end("text", event["messageId"])

    def _superseded(self, value: Event) -> None:
        for id_ in value["messages"]:
            self._remove(id_)

    def _message_removed(self, value: Event) -> None:
        self._remove(value["messageId"])

    def _remove(self, id_: str) -> None:
        self._messages.drop(id_)
        for kind in MESSAGE_KINDS:
            self._end(kind, id_)
        for turn in self._turns.values():
            turn.shown.drop(id_)

    def _message_updated(self, value: Event) -> None:
        fields = {name: field for name, field in value.items() if name != "messageId"}
        self._messages.update(value["messageId"], fields)

    def _actions(self, value: Event) -> None:
        self._messages.set_actions(value["messageId"], value["actions"])

    def _element(self, value: Event) -> None:
        self._messages.drop_element(value["id"], but=value.get("messageId", ""))
        if "messageId" not in value:
            self._show(value["id"])
            self._add("", of_element(value))
            return
        if self._is_element(value["id"]):
            self._remove(value["id"])
        self._messages.set_element(value["messageId"], value)

    def _element_removed(self, value: Event) -> None:
        self._messages.drop_element(value["id"])
        if self._is_element(value["id"]):
            self._remove(value["id"])

    def _is_element(self, id_: str) -> bool:
        message = self._messages.get(id_)
        return message is not None and message.get("activityType") == "element"

    # ---- tool calls and activities: messages too

    def _tool_call_start(self, event: Event) -> None:
        self._show(event["toolCallId"])
        self._add("tool_call", of_tool_call(event))

    def _tool_call_args(self, event: Event) -> None:
        message = self._messages.get(event["toolCallId"])
        if message is not None and ("tool_call", message["id"]) in self._open:
            self._messages.extend(message["id"], message["toolCalls"][0]["function"], "arguments", event["delta"])

    def _tool_call_end(self, event: Event) -> None:
        self._end("tool_call", event["toolCallId"])

    def _tool_call_result(self, event: Event) -> None:
        self._show(event["messageId"])
        self._add("", of_tool_result(event))

    def _activity_snapshot(self, event: Event) -> None:
        self._show(event["messageId"])
        self._keep_activity(of_activity(event))

    def _activity_delta(self, event: Event) -> None:
        message = self._messages.get(event["messageId"])
        if message is not None and message["role"] == "activity":
            content = _patched(message["content"], event["patch"])
            if isinstance(content, dict):
                self._keep_activity({**message, "content": content})

    def _keep_activity(self, message: Message) -> None:
        is_running = message["activityType"] == "step" and message["content"].get("status") == "running"
        self._add("step" if is_running else "", message)

    # ---- the settings form and the shared state

    def _settings(self, form: Event) -> None:
        if size(form) <= MAX_FORM_BYTES:
            self._form = form
        else:
            self._cut = True

    def _state_snapshot(self, event: Event) -> None:
        self._keep_state(event["snapshot"])

    def _state_delta(self, event: Event) -> None:
        self._keep_state(_patched(self._state, event["delta"]))

    def _keep_state(self, state: Any) -> None:
        if size(state) <= MAX_STATE_BYTES:
            self._state = state
        else:
            self._cut = True

    _events: ClassVar[dict[str, Callable[[Fold, Event], None]]] = {
        "RUN_STARTED": _run_started,
        "RUN_FINISHED": _run_ended,
        "RUN_ERROR": _run_ended,
        "TEXT_MESSAGE_START": _text_start,
        "TEXT_MESSAGE_CONTENT": _text_content,
        "TEXT_MESSAGE_END": _text_end,
        "TOOL_CALL_START": _tool_call_start,
        "TOOL_CALL_ARGS": _tool_call_args,
        "TOOL_CALL_END": _tool_call_end,
        "TOOL_CALL_RESULT": _tool_call_result,
        "ACTIVITY_SNAPSHOT": _activity_snapshot,
        "ACTIVITY_DELTA": _activity_delta,
        "STATE_SNAPSHOT": _state_snapshot,
        "STATE_DELTA": _state_delta,
    }
    _customs: ClassVar[dict[str, Callable[[Fold, Event], None]]] = {
        "parley.superseded": _superseded,
        "parley.message_updated": _message_updated,
        "parley.message_removed": _message_removed,
        "parley.ask": _ask,
        "parley.ask_resolved": _ask_resolved,
        "parley.actions": _actions,
        "parley.element": _element,
        "parley.element_removed": _element_removed,
        "parley.settings": _settings,
    }


def _patched(document: Any, patch: Patch) -> Any:
    try:
        return apply_patch(document, patch)
    except PatchError:  # nor does it apply at a client
        return document
