"""How a step is shown: a tool's as AG-UI tool call events, any other as an AG-UI activity."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from app.chat.shown import shown, text_of
from app.protocol import events
from app.protocol.events import Event, StepStatus


@dataclass(frozen=True, slots=True)
class Look:
    """What a step looks like now. `input` and `output` may be anything."""

    name: str
    type: str
    parent: str | None
    input: Any
    output: Any
    status: StepStatus


class View(Protocol):
    """What clients have been shown of one step."""

    def show(self, look: Look) -> list[Event]:
        """What makes clients see it so: all of it the first time, what changed after that."""

    def input_piece(self, look: Look, piece: str) -> list[Event]:
        """What makes clients see one more piece of its input; `look` has it already."""

    def closing(self) -> Event:
        """What closes it at a turn's end."""

    def ids(self) -> list[str]:
        """The messages it consists of."""


class ActivityView:
    """A step as an activity: a snapshot, then a patch of what changed."""

    def __init__(self, step_id: str) -> None:
        self._id = step_id
        self._seen: dict[str, Any] | None = None

    def show(self, look: Look) -> list[Event]:
        """The snapshot, or a patch."""
        now = {"input": shown(look.input), "output": shown(look.output), "status": look.status}
        before, self._seen = self._seen, now
        if before is None:
            return [
                events.step_snapshot(
                    self._id,
                    look.name,
                    step_type=look.type,
                    parent=look.parent,
                    step_input=now["input"],
                    output=now["output"],
                    status=look.status,
                )
            ]
        changed = [_put(member, value) for member, value in now.items() if value != before[member]]
        return [events.activity_delta(self._id, "step", changed)] if changed else []

    def input_piece(self, look: Look, _piece: str) -> list[Event]:
        """The input as it is now: a patch cannot append to a text."""
        return self.show(look)

    def closing(self) -> Event:
        """It was cancelled."""
        return events.activity_delta(self._id, "step", [_put("status", "cancelled")])

    def ids(self) -> list[str]:
        """One message."""
        return [self._id]


class ToolView:
    """A step as a tool call: its arguments are the input, its result the output once it has ended."""

    def __init__(self, step_id: str, new_id: Callable[[], str]) -> None:
        self._id = step_id
        self._result_id = new_id()
        self._began = self._has_input = self._ended = False
        self._output: str | None = None

    def show(self, look: Look) -> list[Event]:
        """What has not been shown of start, arguments, end and result. A failed one's result is `{"error": …}`."""
        made = self._start(look)
        if look.input is not None and not self._has_input:
            made += self._arguments(_json_of(look.input))
        if look.status != "running":
            made += self._end() + self._result(look)
        return made

    def input_piece(self, look: Look, piece: str) -> list[Event]:
        """A piece of the arguments' JSON."""
        return self._start(look) + self._arguments(piece)

    def closing(self) -> Event:
        """The end of the call, without a result."""
        return events.tool_call_end(self._id)

    def ids(self) -> list[str]:
        """The call and its result."""
        return [self._id, self._result_id]

    def _start(self, look: Look) -> list[Event]:
        if self._began:
            return []
        self._began = True
        return [events.tool_call_start(self._id, look.name, look.parent)]

    def _arguments(self, text: str) -> list[Event]:
        self._has_input = True
        return [events.tool_call_args(self._id, piece) for piece in events.pieces(text)]

    def _end(self) -> list[Event]:
        if self._ended:
            return []
        self._ended = True
        return [events.tool_call_end(self._id)]

    def _result(self, look: Look) -> list[Event]:
        if look.status == "cancelled":
            return []
        text = text_of(look.output)
        output = text if look.status == "done" else orjson.dumps({"error": text}).decode()
        if output == self._output:
            return []
        self._output = output
        return [events.tool_call_result(self._result_id, self._id, output)]


def _put(member: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": f"/{member}", "value": value}


def _json_of(value: Any) -> str:
    """A tool's arguments: an object, under `input` if the author's value is none."""
    made = shown(value)
    return orjson.dumps(made if isinstance(made, dict) else {"input": made}).decode()
