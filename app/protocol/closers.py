"""What can be open in a log, and the event that closes it."""

from __future__ import annotations

from collections.abc import Callable

from app.protocol import events
from app.protocol.events import Event


def _close_step(id_: str) -> Event:
    return events.activity_delta(id_, "step", [{"op": "add", "path": "/status", "value": "cancelled"}])


MESSAGE_KINDS = ("text", "tool_call", "step")
"""What can be open under a message's id; an ask has an id of its own kind."""
CLOSERS: dict[str, Callable[[str], Event]] = {
    "text": events.text_end,
    "tool_call": events.tool_call_end,
    "step": _close_step,
    "ask": lambda id_: events.ask_resolved(id_, "cancelled"),
}
