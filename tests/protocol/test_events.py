"""Every event that a builder makes is AG-UI 1.0 and nothing else, within the bounds of a frame, and JSON."""

from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest
from ag_ui.core import Event as AguiEvent
from ag_ui.core import EventType
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.protocol import codec, events
from app.protocol.events import FIELDS, MAX_DELTA, MAX_EVENT_BYTES, Event
from app.protocol.fold import Fold
from app.protocol.frames import MAX_OUT_BYTES, Events, Reset, Snapshot
from app.protocol.inputs import DataSource, MediaPart, MessageInput, Part, TextPart
from app.protocol.values import MAX_VALUE_BYTES
from tests.protocol.strategies import any_texts, built_events, statuses

agui = TypeAdapter[Any](AguiEvent)
models = {model.model_fields["type"].default.value: model for model in get_args(get_args(AguiEvent)[0])}


@settings(deadline=None, max_examples=300)
@given(built_events)
def test_what_is_built_is_agui_and_only_that(made: list[Event]) -> None:
    for event in made:
        agui.validate_python(event)
        assert event.keys() <= FIELDS[event["type"]]
        assert orjson.loads(orjson.dumps(event)) == event


@pytest.mark.parametrize("kind", sorted(FIELDS))
def test_the_closed_list_is_what_the_models_say(kind: str) -> None:
    assert FIELDS[kind] == {field.alias for field in models[EventType(kind)].model_fields.values()}


def test_a_builder_is_tried_for_every_event_type() -> None:
    found: set[str] = set()

    @settings(deadline=None, max_examples=300, database=None, derandomize=True)
    @given(built_events)
    def collect(made: list[Event]) -> None:
        found.update(event["type"] for event in made)

    collect()
    assert found == set(FIELDS)


def test_the_deepest_event_can_be_read_by_a_client() -> None:
    made = [events.state_snapshot(nested(127)), events.element("e", {"content": nested(126)}, "m")]
    frame = codec.encode_events(1, "m", None, 1, [*events.text_message("m", "x"), *made])
    read = codec.decode_server(frame)
    fold = Fold()
    fold.apply(orjson.loads(frame))
    reset = Reset(reason="ahead", head=fold.position, snapshot=Snapshot(**fold.snapshot()))
    assert isinstance(read, Events)
    assert codec.decode_server(codec.encode(reset)) == reset


def test_the_largest_input_can_be_echoed() -> None:
    part = {
        "type": "image",
        "source": {"type": "data", "value": "x" * (MAX_VALUE_BYTES - 200), "mimeType": "image/png"},
    }
    raw = orjson.dumps({"type": "message", "n": 1, "content": [part], "metadata": {"a": "x"}})
    frame = codec.decode(raw)
    assert isinstance(frame, MessageInput)
    assert codec.pack(1, "m", "t", 1, events.user_message("x" * 256, frame.content, frame.metadata))


def test_a_plain_message() -> None:
    assert events.text_message("m", "hi", name="Ann", metadata={"parley": {"language": "en"}}) == [
        {
            "type": "TEXT_MESSAGE_START",
            "messageId": "m",
            "role": "assistant",
            "name": "Ann",
            "metadata": {"parley": {"language": "en"}},
        },
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": "m", "delta": "hi"},
        {"type": "TEXT_MESSAGE_END", "messageId": "m"},
    ]


def test_an_empty_message_has_no_content_event() -> None:
    assert [event["type"] for event in events.text_message("m", "")] == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_END"]


@settings(deadline=None, max_examples=50)
@given(st.text(st.sampled_from('a"\n\0é€😀'), min_size=1, max_size=9), st.integers(0, 20_000))
def test_a_long_text_is_split_between_characters_into_small_events(word: str, times: int) -> None:
    made = events.text_message("m", word * times)
    assert "".join(event["delta"] for event in made[1:-1]) == word * times
    assert all(0 < len(orjson.dumps(event)) < MAX_OUT_BYTES / 2 for event in made)


@settings(deadline=None, max_examples=200)
@given(any_texts)
def test_text_that_utf8_cannot_carry_is_mended(text: str) -> None:
    made = "".join(event["delta"] for event in events.text_message("m", text)[1:-1])
    assert made == text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert events.text_content("m", text)["delta"] == made


def test_surrogates_that_belong_together_are_joined() -> None:
    assert events.text_content("m", "\ud83d\ude00 \ud83d")["delta"] == "😀 \ufffd"


def test_an_echo_of_parts() -> None:
    parts: list[Part] = [
        TextPart(text="look"),
        MediaPart(type="image", source=DataSource(value="aGk=", mime_type="image/png")),
        TextPart(text="there", metadata={"a": None}),
    ]
    start, content, end = events.user_message("m", parts, {"mine": 1, "parley": {"command": "draw"}})
    assert (start["role"], content["delta"], end["messageId"]) == ("user", "look\nthere", "m")
    assert start["metadata"] == {
        "mine": 1,
        "parley": {
            "command": "draw",
            "parts": [
                {"type": "text", "text": "look"},
                {"type": "image", "source": {"type": "data", "value": "aGk=", "mimeType": "image/png"}},
                {"type": "text", "text": "there", "metadata": {"a": None}},
            ],
        },
    }


def test_an_event_keeps_the_values_of_its_making() -> None:
    options = ["yes"]
    made = events.ask("a", "action", "Sure?", expires_at=5, options=options)
    options.append("no")
    assert made["value"] == {"id": "a", "kind": "action", "prompt": "Sure?", "expiresAt": 5, "options": ["yes"]}


def test_only_an_answered_ask_has_a_value_and_null_is_one() -> None:
    assert events.ask_resolved("a", "answered")["value"] == {"id": "a", "status": "answered", "value": None}
    assert events.ask_resolved("a", "expired", 3)["value"] == {"id": "a", "status": "expired"}


def test_an_error_can_always_be_told() -> None:
    made = events.run_error("x" * 100_000 + "\ud800", "handler_error")
    assert len(made["message"]) == events.MAX_ERROR
    assert made["message"].endswith("x…")


huge = "x" * MAX_OUT_BYTES


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (
            lambda: events.text_content("m", "x" * (MAX_DELTA + 1)),
            f"delta: {MAX_DELTA + 1} characters, at most {MAX_DELTA}",
        ),
        (lambda: events.tool_call_args("m", "x" * (MAX_DELTA + 1)), "delta: "),
        (lambda: events.text_start("m", name="x" * 257), "name: 257 characters, at most 256"),
        (lambda: events.text_start("x" * 257), "id: 257 characters, at most 256"),
        (lambda: events.text_start("m", metadata={"a": huge}), f"metadata: .* at most {MAX_EVENT_BYTES}"),
        (
            lambda: events.message_updated("m", '"' * (MAX_VALUE_BYTES // 2 + 1)),
            f"content: .* at most {MAX_VALUE_BYTES}",
        ),
        (lambda: events.tool_call_result("m", "t", huge), "content: "),
        (lambda: events.step_snapshot("m", "s", step_type="run", output=huge), "step: "),
        (lambda: events.ask("a", "text", "x" * 40_000, expires_at=1), f"ask: .* at most {events.MAX_ASK_BYTES}"),
        (lambda: events.element("e", {"content": huge}), "element: "),
        (lambda: events.state_snapshot(huge), f"the shared state: .* at most {events.MAX_STATE_BYTES}"),
        (lambda: events.superseded(["m"] * 1001), "1001 .* at most 1000"),
        (lambda: events.element("e", {"content": {1, 2}}), "element: not JSON"),
        (lambda: events.element("e", {"content": "\ud800"}), "element: not JSON: .*surrogates"),
        (lambda: events.state_snapshot(nested(129)), "nested more than 128 levels"),
        (lambda: events.state_snapshot(nested(400)), "not JSON"),
    ],
)
def test_what_is_too_large_or_no_json_is_refused_when_it_is_built(build: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build()


@pytest.mark.parametrize("text", [5, None, b"bytes", ["list"]])
def test_what_is_no_text_is_refused_when_it_is_built(text: Any) -> None:
    with pytest.raises(TypeError, match="needs a text, not"):
        events.text_content("m", text)
    with pytest.raises(TypeError, match="needs a text, not"):
        events.text_start(text)
    with pytest.raises(TypeError, match="metadata"):
        events.message_updated("m", "x", metadata=text)


def test_the_longest_update_fits() -> None:
    made = events.message_updated("m", '"' * (MAX_VALUE_BYTES // 2))
    assert len(orjson.dumps(made)) <= MAX_EVENT_BYTES


@given(statuses)
def test_a_step(status: Any) -> None:
    made = events.step_snapshot("m", "think", step_type="llm", parent="p", step_input={"q": 1}, status=status)
    assert made["content"] == {
        "name": "think",
        "type": "llm",
        "parent": "p",
        "input": {"q": 1},
        "output": None,
        "status": status,
    }


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value
