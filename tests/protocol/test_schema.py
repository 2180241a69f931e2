"""The JSON Schemas of the frames, of which the published document is made, say what the codec does."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter

from app.protocol.frames import ServerFrame
from app.protocol.inputs import ClientFrame

CLIENT = TypeAdapter[Any](ClientFrame).json_schema()["$defs"]
SERVER = TypeAdapter[Any](ServerFrame).json_schema()["$defs"]

REQUIRED = {
    "Hello": {"type", "client"},
    "MessageInput": {"type", "n", "content"},
    "AnswerInput": {"type", "n", "ask"},
    "ActionInput": {"type", "n", "name", "payload"},
    "SettingsInput": {"type", "n", "values"},
    "StateInput": {"type", "n", "patch"},
    "EditInput": {"type", "n", "id", "content"},
    "FeedbackInput": {"type", "n", "for", "value"},
    "CancelInput": {"type", "n"},
    "EndInput": {"type", "n"},
    "Ping": {"type"},
    "Welcome": {"type", "session", "agent", "user", "worker", "resumed", "head", "acked", "known", "limits"},
    "Events": {"type", "seq", "mark", "turn", "attempt", "events"},
    "Ack": {"type", "n", "duplicate", "queued"},
    "Reset": {"type", "reason", "head", "snapshot"},
    "ErrorFrame": {"type", "code", "message", "fatal"},
    "Pong": {"type", "time"},
    "Bye": {"type", "reason", "reconnect", "after_ms"},
}


@pytest.mark.parametrize("name", REQUIRED)
def test_what_a_frame_must_have(name: str) -> None:
    assert set((CLIENT | SERVER)[name]["required"]) == REQUIRED[name]


def test_a_counter_starts_at_one_and_a_position_is_an_object() -> None:
    assert CLIENT["EndInput"]["properties"]["n"]["minimum"] == 1
    head = SERVER["Welcome"]["properties"]["head"]
    assert (head["type"], set(head["required"])) == ("object", {"seq", "mark"})
