"""The settings form: what a user may set for the session, and what of it the agent is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.chat.input_widget import InputWidget, Tab, widgets_of
from app.protocol import events
from app.protocol.events import Event
from app.protocol.inputs import SettingsInput
from app.runtime import context
from app.runtime.registry import DEFAULTS, Hook
from app.runtime.turn import Turn

VALUES = "chat_settings"
"""The session's value that holds what is set, by the ids of the fields; Chainlit's name for it."""
FORM = "parley.settings_form"
"""The session's value that holds the form last sent."""
MAX_FIELDS = 100
"""Fields of a form."""
MAX_WORDS = 900
"""Characters of what is said of a refused form."""


class ChatSettings:
    """A form of at most 100 fields. What a user sets stays with the session, under `user_session["chat_settings"]`.

    Raises: ValueError if it has more fields, or two of one id.
    """

    def __init__(self, inputs: Sequence[InputWidget | Tab]) -> None:
        self.inputs = list(inputs)
        ids = [w.id for entry in inputs for w in (entry.inputs if isinstance(entry, Tab) else [entry])]
        if len(ids) > MAX_FIELDS:
            raise ValueError(f"a settings form has {len(ids)} fields, at most {MAX_FIELDS}")
        if twice := sorted({id_ for id_ in ids if ids.count(id_) > 1}):
            raise ValueError(f"two fields of a settings form have the id {twice[0]!r}")

    async def send(self) -> dict[str, Any]:
        """Show the form; the values of its fields: those the user has set, if they still fit, and else the first ones.

        Raises: OutsideTurn; ValueError if the form is too large.
        """
        turn = context.running()
        form = [entry.as_dict() for entry in self.inputs]
        before = turn.state.get(VALUES, {})
        values = {id_: _fitting(widget, before) for id_, widget in widgets_of(form).items()}
        shown = _form_event(form, values)
        turn.state[FORM], turn.state[VALUES] = form, values
        await turn.emit([shown], size=1024 * (len(values) + 1))
        return dict(values)


async def accept(turn: Turn) -> dict[str, Any] | None:
    """What a user has sent, joined with what was set before; None if it was refused, with a toast that says why."""
    body = turn.body
    assert isinstance(body, SettingsInput)  # noqa: S101  # nothing else is kept under this kind
    form: list[dict[str, Any]] = turn.state.get(FORM, [])
    before: dict[str, Any] = turn.state.get(VALUES, {})
    values = {**before, **body.values}
    if wrong := _wrong(widgets_of(form), body.values, before) or _too_large(form, values):
        words = "; ".join(wrong)
        toast = events.toast(f"not set: {words if len(words) <= MAX_WORDS else words[:MAX_WORDS] + '…'}", "error")
        await turn.emit([toast, *([_form_event(form, before)] if form else [])])
        return None
    turn.state[VALUES] = values
    await turn.emit([_form_event(form, values)], size=1024 * (len(values) + 1))
    return dict(values)


def _form_event(form: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> Event:
    return events.settings_form({"inputs": form, "values": values})


def _wrong(widgets: Mapping[str, InputWidget], values: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """What is wrong with values of a client, each time with the field's id."""
    found = []
    for id_, value in values.items():
        widget = widgets.get(id_)
        if widget is None:
            found.append(f"{id_:.64}: there is no such field")
        elif widget.disabled and value != before.get(id_):
            found.append(f"{id_}: cannot be changed")
        elif problem := _problem(widget, value):
            found.append(f"{id_}: {problem}")
    return found


def _too_large(form: Sequence[Mapping[str, Any]], values: Mapping[str, Any]) -> list[str]:
    """Values that fit one by one may be too large together."""
    try:
        _form_event(form, values)
    except ValueError as error:
        return [str(error)]
    return []


def _problem(widget: InputWidget, value: Any) -> str:
    try:
        widget.check(value)
    except ValueError as error:
        return str(error)
    return ""


def _fitting(widget: InputWidget, before: Mapping[str, Any]) -> Any:
    kept = widget.id in before and not _problem(widget, before[widget.id])
    return before[widget.id] if kept else widget.start


async def _accept(turn: Turn) -> None:
    await accept(turn)


DEFAULTS["settings"] = Hook("settings", __name__, _accept)
