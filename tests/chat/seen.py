"""What a talk has seen: checked against AG-UI as a whole, and picked out by kind."""

from __future__ import annotations

from typing import Any

from ag_ui.core import Event as AguiEvent
from pydantic import TypeAdapter

from app.protocol.events import FIELDS
from app.protocol.fold import Fold
from tests.runtime.stage import Frame, Talk

agui = TypeAdapter[Any](AguiEvent)


def checked(talk: Talk, turn: str | None = None) -> list[Frame]:
    """All events of a talk, or of one turn: every one of them AG-UI and nothing else, and folded without a loss."""
    for event in talk.events():
        agui.validate_python(event)
        assert event.keys() <= FIELDS[event["type"]], event
    folded(talk)
    return talk.events(turn)


def folded(talk: Talk) -> Frame:
    """The conversation as a client that comes now sees it; nothing of a turn that has ended is open."""
    fold = Fold()
    for frame in talk.frames:
        fold.apply(frame)
    snapshot = fold.snapshot()
    assert not snapshot["truncated"]
    if not any(thing["kind"] == "turn" for thing in snapshot["open"]):
        assert snapshot["open"] == []
    return snapshot


def customs(talk: Talk, name: str) -> list[Frame]:
    """The values of the custom events of one name."""
    return [e["value"] for e in checked(talk) if e.get("name") == f"parley.{name}"]


def steps(talk: Talk) -> dict[str, Frame]:
    """The steps that are activities, by name, as they are at the end."""
    activities = [m for m in folded(talk)["messages"] if m.get("activityType") == "step"]
    return {m["content"]["name"]: {**m["content"], "id": m["id"]} for m in activities}


def tools(talk: Talk) -> dict[str, tuple[str, str | None]]:
    """The tool calls by name: arguments and result."""
    messages = folded(talk)["messages"]
    results = {m["toolCallId"]: m["content"] for m in messages if m["role"] == "tool"}
    calls = [(m["id"], m["toolCalls"][0]["function"]) for m in messages if "toolCalls" in m]
    return {function["name"]: (function["arguments"], results.get(id_)) for id_, function in calls}
