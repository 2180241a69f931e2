"""The published document of the protocol, which every frame of the tests is held against."""

from __future__ import annotations

import json
from functools import cache
from typing import Any, Literal

import jsonschema_rs

from app.protocol import asyncapi

UNDOCUMENTED = "UNDOCUMENTED FRAME"
"""What the log of a test's server says of a frame that is not in the document."""

Document = dict[str, Any]
Side = Literal["fromClient", "toClient"]


@cache
def document() -> Document:
    """The document as whoever fetches it reads it."""
    parsed: Document = json.loads(json.dumps(asyncapi.document()))
    return parsed


def assert_documented(side: Side, frame: dict[str, Any]) -> None:
    """A frame is one that this side may send. A server's frame has no member that the document does not name."""
    kind = frame.get("type")
    assert kind in kinds(side), f"the document has no such frame {side}: {frame}"
    try:
        _validator(kind).validate(frame)
    except jsonschema_rs.ValidationError as error:
        raise AssertionError(f"the document says otherwise of {kind}: {error.message}, in {frame}") from None
    unnamed = frame.keys() - payload(kind)["properties"].keys()
    assert side == "fromClient" or not unnamed, f"the document does not name {unnamed} of {frame}"


@cache
def kinds(side: Side) -> list[str]:
    """The types of the frames that this side sends."""
    return [message["$ref"].rpartition("/")[2] for message in document()["operations"][side]["messages"]]


def payload(kind: str) -> Document:
    """The schema of a frame."""
    name = document()["components"]["messages"][kind]["payload"]["$ref"].rpartition("/")[2]
    schema: Document = document()["components"]["schemas"][name]
    return schema


@cache
def _validator(kind: str) -> jsonschema_rs.Draft7Validator:
    # one for each type and for all tests: to make one takes longer than to check a thousand frames
    reference = document()["components"]["messages"][kind]["payload"]
    return jsonschema_rs.Draft7Validator({**reference, "components": document()["components"]})
