"""The AsyncAPI document: valid by AsyncAPI's own schema, complete, and true of every frame there can be."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given

from app.protocol import codec
from app.protocol.close import CloseCode
from app.protocol.events import FIELDS, Event
from app.protocol.frames import Wire
from tests.protocol.strategies import built_events, client_frames, numbered
from tests.protocol.strategies import server_frames as frames_of_servers
from tests.support.document import assert_documented, document, kinds, payload

PUBLISHED = Path(__file__).parent / "vendor" / "asyncapi-3.0.0.json"


@pytest.fixture(scope="module")
def published() -> jsonschema_rs.Draft7Validator:
    """AsyncAPI's own JSON Schema of a document of its version 3.0.0."""
    return jsonschema_rs.Draft7Validator(json.loads(PUBLISHED.read_text()))


def test_the_document_is_valid_by_the_published_schema(published: jsonschema_rs.Draft7Validator) -> None:
    published.validate(document())


@pytest.mark.parametrize(
    "path", [("info", "title"), ("channels", "session", "address"), ("operations", "toClient", "action")]
)
def test_the_published_schema_finds_what_is_wrong(
    published: jsonschema_rs.Draft7Validator, path: tuple[str, ...]
) -> None:
    broken = copy.deepcopy(document())
    inner = broken
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = 7
    assert not published.is_valid(broken)


def test_every_reference_leads_somewhere_and_every_schema_is_one() -> None:
    references = {value for name, value in _walk(document()) if name == "$ref"}
    for reference in references:
        place: Any = document()
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
    used = {reference.rpartition("/")[2] for reference in references if "/schemas/" in reference}
    schemas = document()["components"]["schemas"]
    assert used == schemas.keys()
    for schema in schemas.values():
        jsonschema_rs.meta.validate({"$schema": "http://json-schema.org/draft-07/schema#", **schema})


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        yield from value.items()
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(inner)


def test_every_frame_of_both_sides_and_every_event_is_in_it() -> None:
    assert set(kinds("fromClient")) == set(codec._CLIENT)
    assert set(kinds("toClient")) == set(codec._SERVER)
    assert document()["channels"]["session"]["messages"].keys() == codec._CLIENT.keys() | codec._SERVER.keys()
    events = document()["components"]["schemas"]["Event"]["anyOf"]
    assert [event["$ref"].rpartition("/")[2] for event in events] == list(FIELDS)
    for kind, members in FIELDS.items():
        schema = document()["components"]["schemas"][kind]
        assert schema["properties"].keys() == members
        assert "additionalProperties" not in schema


def test_the_close_codes_and_the_subprotocol_are_in_it() -> None:
    channel = document()["channels"]["session"]
    codes = [(row["code"], row["reason"], row["reconnect"]) for row in channel["x-close-codes"]]
    assert codes == [(code.value, code.reason, code.reconnect) for code in CloseCode]
    handshake = channel["bindings"]["ws"]["headers"]["properties"]
    assert handshake["Sec-WebSocket-Protocol"]["examples"] == ["parley.v1"]
    assert channel["address"] == "/ws"


@given(client_frames)
def test_what_the_codec_takes_the_document_has(frame: Wire) -> None:
    raw = codec.encode(frame)
    codec.decode(raw)
    assert_documented("fromClient", json.loads(raw))


@given(frames_of_servers)
def test_what_a_server_sends_the_document_has(frame: Wire) -> None:
    sent = json.loads(codec.encode(frame))
    if sent["type"] == "events":  # whose events are anything here; those of a server are below
        sent["events"] = [{"type": "RUN_STARTED"}]
    assert_documented("toClient", sent)


@given(built_events)
def test_every_event_that_is_built_is_in_the_document(events: list[Event]) -> None:
    for frame in numbered([{"turn": None, "attempt": 0, "events": events}]):
        assert_documented("toClient", frame)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "dance"},
        {"type": "pong"},
        {"type": "pong", "time": "now"},
        {"type": "pong", "time": 1, "more": 1},
        {"type": "events", "seq": 1, "mark": "m", "turn": "t", "attempt": 1, "events": []},
        {"type": "events", "seq": 1, "mark": "m", "turn": "t", "attempt": 1, "events": [{"type": "DANCE"}]},
        {"type": "ping"},
    ],
    ids=json.dumps,
)
def test_what_no_server_sends_is_not_in_the_document(frame: dict[str, Any]) -> None:
    with pytest.raises(AssertionError):
        assert_documented("toClient", frame)


@pytest.mark.parametrize(
    "frame",
    [
        {"type": "hello", "client": "short"},
        {"type": "message", "content": "x"},
        {"type": "message", "n": 0, "content": "x"},
        {"type": "message", "n": 1, "content": [{"type": "dance"}]},
        {"type": "cancel", "n": 1, "turn": ""},
    ],
    ids=json.dumps,
)
def test_what_the_codec_refuses_the_document_does_too(frame: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=frame["type"]):
        codec.decode(json.dumps(frame))
    with pytest.raises(AssertionError):
        assert_documented("fromClient", frame)


def test_descriptions_are_there_for_people() -> None:
    for message in document()["components"]["messages"].values():
        assert message["summary"].endswith(".")
    assert "description" in payload("hello")["properties"]["since"]
