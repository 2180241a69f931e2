"""Actions: the buttons of a message, and what comes back when one is pressed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from app.protocol import events
from app.protocol.events import Event, parley_of
from app.protocol.fold import Fold
from app.protocol.frames import MAX_NAME
from app.protocol.inputs import ActionInput
from app.protocol.values import size
from app.runtime import context

MAX_ACTIONS = 32
"""Buttons of one message."""
MAX_LABEL = 256
"""Characters of a label."""
MAX_BYTES = 64 * 1024
"""JSON bytes of all buttons of one message: they are kept with it."""
MAX_TOOLTIP = 1024
"""Characters of a tooltip."""


class Action:
    """A button. Pressing it calls the agent's `action_callback` of its name with an Action like it.

    `payload` is a JSON object; what comes back is what the client sent: check it as you would any input.
    `for_id` is the message that it stands under, once it does. `icon` is a name for clients that know it.
    Raises: ValueError if the name is empty, or it, the label or the tooltip is too long.
    """

    def __init__(
        self,
        name: str,
        payload: Mapping[str, Any] | None = None,
        label: str = "",
        tooltip: str = "",
        icon: str | None = None,
    ) -> None:
        if not 1 <= len(name) <= MAX_NAME:
            raise ValueError(f"an action's name has {len(name)} characters, it needs 1 to {MAX_NAME}")
        if len(label) > MAX_LABEL or len(tooltip) > MAX_TOOLTIP:
            raise ValueError(f"action {name}: label has at most {MAX_LABEL} characters, tooltip {MAX_TOOLTIP}")
        self.name = name
        self.payload = dict(payload or {})
        self.label = label
        self.tooltip = tooltip
        self.icon = icon
        self.for_id: str | None = None

    @classmethod
    def pressed(cls, press: ActionInput) -> Self:
        """The button that a user pressed."""
        action = cls(press.name, press.payload)
        action.for_id = press.for_
        return action

    def as_dict(self) -> dict[str, Any]:
        """The button as clients see it; its label is its name if it has none."""
        made = {"name": self.name, "label": self.label or self.name, "tooltip": self.tooltip, "payload": self.payload}
        return made if self.icon is None else {**made, "icon": self.icon}

    async def remove(self) -> None:
        """Take the button away from its message, in this turn or a later one. Reads the conversation from the store.

        Raises: OutsideTurn; ValueError if it stands under no message.
        """
        turn = context.turn()
        if self.for_id is None:
            raise ValueError(f"action {self.name} stands under no message")
        shown = _buttons(await turn.history(), self.for_id)
        left = [button for button in shown if (button["name"], button["payload"]) != (self.name, self.payload)]
        await turn.emit([events.actions(self.for_id, left)])


def shown_actions(message_id: str, actions: Sequence[Action]) -> Event:
    """The event that gives a message these buttons and no others.

    Raises: ValueError if they are more than 32, over 64 KiB together, or a payload is not JSON.
    """
    if len(actions) > MAX_ACTIONS:
        raise ValueError(f"{len(actions)} actions under one message, at most {MAX_ACTIONS}")
    event = events.actions(message_id, [action.as_dict() for action in actions])
    if (got := size(event["value"]["actions"])) > MAX_BYTES:
        raise ValueError(f"the actions of a message have {got} bytes as JSON, at most {MAX_BYTES}: payloads are keys")
    for action in actions:
        action.for_id = message_id
    return event


def _buttons(fold: Fold, message_id: str) -> list[dict[str, Any]]:
    """The buttons that a message has now; none if it is too long ago to be known."""
    for message in fold.snapshot()["messages"]:
        if message["id"] == message_id:
            return [b for b in parley_of(message.get("metadata")).get("actions", []) if "payload" in b]
    return []
