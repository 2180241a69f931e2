"""Bytes of any kind end in a frame or in a ProtocolError, and what is encoded is decoded as the same."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import ProtocolError
from app.protocol import codec, events
from app.protocol.frames import MAX_NUMBER, MAX_OUT_BYTES, Ack, Events, Pong, Wire
from app.protocol.inputs import Counted, Durable, MessageInput
from app.protocol.values import MAX_DEPTH, MAX_VALUE_BYTES
from tests.protocol.strategies import (
    built_events,
    client_frames,
    counts,
    inputs,
    maybe_names,
    numbers,
    server_frames,
    values,
)

CODES = {"bad_json", "bad_frame", "unknown_type"}
thorough = settings(deadline=None, max_examples=100)


def try_decode(raw: bytes | str) -> None:
    """Decode; nothing but a ProtocolError may come, and a frame that passes can be kept."""
    try:
        frame = codec.decode(raw)
    except ProtocolError as error:
        refused = error
    else:
        if isinstance(frame, Counted):
            codec.body_of(frame)
        return
    assert refused.code in CODES
    assert 0 < len(refused.message) <= 300


def refusal(raw: bytes | str) -> ProtocolError:
    with pytest.raises(ProtocolError) as caught:
        codec.decode(raw)
    return caught.value


def text(content: str, n: int) -> bytes:
    return orjson.dumps({"type": "message", "n": n, "content": content})


@thorough
@given(st.binary(max_size=200) | st.text(st.characters(), max_size=200))
def test_any_bytes_and_any_text(raw: bytes | str) -> None:
    try_decode(raw)


@thorough
@given(values)
def test_any_json(value: Any) -> None:
    try_decode(orjson.dumps(value))


@thorough
@given(client_frames, st.data())
def test_valid_frames_with_one_member_changed(frame: Wire, data: st.DataObject) -> None:
    members = orjson.loads(codec.encode(frame))
    name = data.draw(st.sampled_from([*sorted(members), "content", "n", "type", "ask", "patch"]))
    if data.draw(st.booleans()):
        members.pop(name, None)
    else:
        members[name] = data.draw(values | inputs.map(lambda other: other.wire()["type"]))
    try_decode(orjson.dumps(members))


@thorough
@given(client_frames, st.data())
def test_valid_frames_with_bytes_changed(frame: Wire, data: st.DataObject) -> None:
    raw = bytearray(codec.encode(frame))
    for place in data.draw(st.lists(st.integers(0, len(raw) - 1), min_size=1, max_size=4)):
        raw[place] = data.draw(st.integers(0, 255))
    try_decode(bytes(raw))


@pytest.mark.parametrize(
    "raw",
    [
        "[" * 100_000,
        '{"type":"message","n":1,"content":"x","metadata":' + '{"a":' * 300 + "1" + "}" * 300 + "}",
        '{"type":"message","n":' + "9" * 10_000 + ',"content":"x"}',
        '{"type":"message","n":1e400,"content":"x"}',
        '{"type":"message","n":1,"content":"\\ud800"}',
        '{"type":"message","n":1,"content":"\ud800"}',
        '{"type":"message","n":1,"content":NaN}',
        b"\xff\xfe\x00",
        b"",
        "\ufeff{}",
        "[]",
        "null",
        '{"type":null}',
        '{"type":["message"]}',
        '{"n":1}',
    ],
)
def test_known_poison_is_refused(raw: bytes | str) -> None:
    assert refusal(raw).code in CODES


def test_the_last_of_equal_keys_counts() -> None:
    assert codec.decode('{"type":"end","n":1,"n":2}') == codec.decode('{"type":"end","n":2}')


@pytest.mark.parametrize(
    ("raw", "code", "words", "n"),
    [
        ('{"type":"message","n":7}', "bad_frame", "message.content: Missing", 7),
        ('{"type":"message","content":"x"}', "bad_frame", f"message.n: needs an integer from 1 to {MAX_NUMBER}", None),
        ('{"type":"end","n":0}', "bad_frame", "end.n: needs", None),
        ('{"type":"end","n":9007199254740992}', "bad_frame", "end.n: needs", None),
        ('{"type":"end","n":"1"}', "bad_frame", "end.n: needs", None),
        ('{"type":"end","n":true}', "bad_frame", "end.n: needs", None),
        ('{"type":"end","n":1.0}', "bad_frame", "end.n: needs", None),
        ('{"type":"dance","n":3}', "unknown_type", "unknown type 'dance', known are hello, message,", 3),
        ('{"type":"message","n":1,"content":5}', "bad_frame", "message.content: Input should be a valid string", 1),
        (
            '{"type":"message","n":1,"content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"data"}}]}',
            "bad_frame",
            "message.content[1].source.value: Missing",
            1,
        ),
        (
            '{"type":"message","n":1,"content":[{"type":"image","source":"x"}]}',
            "bad_frame",
            "message.content[0].source: Input should be an object",
            1,
        ),
        (
            '{"type":"message","n":1,"content":[{"type":"film"}]}',
            "bad_frame",
            "message.content[0]: 'type' should be one of 'text', 'image', 'audio', 'video', 'document'",
            1,
        ),
        ('{"type":"message","n":1,"content":[]}', "bad_frame", "message.content: List should have at least 1 item", 1),
        (
            '{"type":"action","n":1,"name":"a","payload":[]}',
            "bad_frame",
            "action.payload: Input should be an object",
            1,
        ),
        ('{"type":"answer","n":1,"ask":"a"}', "bad_frame", "answer: Exactly one of value and cancelled", 1),
        (
            '{"type":"answer","n":1,"ask":"a","value":null,"cancelled":true}',
            "bad_frame",
            "answer: Exactly one of value and cancelled",
            1,
        ),
        (
            '{"type":"state","n":1,"patch":[{"op":"add","path":"a","value":1}]}',
            "bad_frame",
            "state.patch[0].path: String should match pattern",
            1,
        ),
        (
            '{"type":"feedback","n":1,"for":"m","value":true}',
            "bad_frame",
            "feedback.value: Input should be a number or a string of at most 256 characters",
            1,
        ),
        ('{"type":"feedback","n":1,"for_":"m","value":1}', "bad_frame", "feedback.for: Missing", 1),
        ('{"type":"hello","client":"short"}', "bad_frame", "hello.client: String should match pattern", None),
        (
            '{"type":"hello","client":"12345678","since":{"seq":-1,"mark":""}}',
            "bad_frame",
            "hello.since.seq: Input should be greater than or equal to 0",
            None,
        ),
        (
            '{"type":"hello","client":"12345678","since":{"seq":true,"mark":""}}',
            "bad_frame",
            "hello.since.seq: Input should be a valid integer",
            None,
        ),
        (
            '{"type":"hello","client":"12345678","since":{"seq":"1","mark":""}}',
            "bad_frame",
            "hello.since.seq: Input should be a valid integer",
            None,
        ),
        (
            '{"type":"hello","client":"12345678","since":[1,""]}',
            "bad_frame",
            "hello.since: Input should be an object",
            None,
        ),
        ("{", "bad_json", "not JSON: ", None),
    ],
)
def test_a_refusal_says_what_and_where(raw: str, code: str, words: str, n: int | None) -> None:
    error = refusal(raw)
    assert (error.code, error.n) == (code, n)
    assert error.message.startswith(words)


@pytest.mark.parametrize(
    ("members", "bound"),
    [
        ({"type": "message", "n": 1, "content": "x", "id": "x" * 257}, "256"),
        ({"type": "message", "n": 1, "content": "x", "command": ""}, "1"),
        ({"type": "hello", "client": "12345678", "token": "x" * 16_385}, "16384"),
        ({"type": "message", "n": 1, "content": [{"type": "text", "text": ""}] * 65}, "64"),
        ({"type": "state", "n": 1, "patch": [{"op": "remove", "path": ""}] * 257}, "256"),
        ({"type": "action", "n": 1, "name": "a", "payload": {"a": "x" * MAX_VALUE_BYTES}}, str(MAX_VALUE_BYTES)),
        ({"type": "edit", "n": 1, "id": "m", "content": "x" * MAX_VALUE_BYTES}, str(MAX_VALUE_BYTES)),
    ],
)
def test_a_bound_is_named(members: dict[str, Any], bound: str) -> None:
    error = refusal(orjson.dumps(members))
    assert error.code == "bad_frame"
    assert bound in error.message


def test_values_that_grow_when_written_anew_are_measured_grown() -> None:
    raw = '{"type":"settings","n":4,"values":{"a":[' + ",".join(["1e15"] * 20_000) + "]}}"
    assert len(raw) < MAX_VALUE_BYTES
    error = refusal(raw)
    assert (error.n, str(MAX_VALUE_BYTES) in error.message) == (4, True)


def test_a_frame_too_small_to_be_measured_cannot_grow_past_the_bound() -> None:
    raw = '{"type":"settings","n":4,"values":{"a":[' + ",".join(["1e15"] * ((codec.SMALL - 50) // 5)) + "]}}"
    assert len(raw) <= codec.SMALL
    assert len(codec.body_of(durable(raw))) <= MAX_VALUE_BYTES


def test_a_text_may_be_longer_than_other_values() -> None:
    frame = codec.decode(text("x" * (4 * MAX_VALUE_BYTES), 1))
    assert isinstance(frame, MessageInput)


def test_depth_is_bounded_exactly() -> None:
    def nested(levels: int) -> str:
        inner = levels - 2  # the frame itself, and `values`
        return '{"type":"settings","n":1,"values":{"a":' + "[" * inner + "1" + "]" * inner + "}}"

    codec.decode(nested(MAX_DEPTH))
    assert f"more than {MAX_DEPTH} levels" in refusal(nested(MAX_DEPTH + 1)).message


def test_null_members_are_absent_and_unknown_ones_ignored() -> None:
    bare = durable('{"type":"message","n":1,"content":[{"type":"text","text":"hi"}]}')
    full = durable(
        '{"id":null,"metadata":null,"command":null,"more":{"a":1},"type":"message","n":1,'
        '"content":[{"text":"hi","type":"text","id":null,"metadata":null,"junk":[1]}]}'
    )
    assert full == bare
    assert codec.body_of(full) == codec.body_of(bare) == b'{"content":[{"text":"hi","type":"text"}],"type":"message"}'


@thorough
@given(client_frames)
def test_client_frames_come_back_as_they_were(frame: Wire) -> None:
    assert codec.decode(codec.encode(frame)) == frame
    assert codec.decode(codec.encode(frame).decode()) == frame


@thorough
@given(server_frames)
def test_server_frames_come_back_as_they_were(frame: Wire) -> None:
    assert codec.decode_server(codec.encode(frame)) == frame


@thorough
@given(inputs)
def test_a_body_is_the_input_without_its_number(frame: Durable) -> None:
    body = codec.body_of(frame)
    assert "n" not in orjson.loads(body)
    for _ in range(2):  # a plain message may be known, and is then parsed the second time
        assert codec.input_from(body).model_copy(update={"n": 1}) == frame.model_copy(update={"n": 1})
    assert codec.body_of(codec.input_from(body)) == body


@thorough
@given(inputs, st.integers(1, MAX_NUMBER), st.randoms(use_true_random=False))
def test_a_body_depends_on_neither_order_nor_number(frame: Durable, n: int, rng: random.Random) -> None:
    members = shuffled({**orjson.loads(codec.encode(frame)), "n": n}, rng)
    again = durable(orjson.dumps(members))
    assert codec.checksum(codec.body_of(again)) == codec.checksum(codec.body_of(frame))


@thorough
@given(inputs, inputs)
def test_other_inputs_have_other_bodies(one: Durable, other: Durable) -> None:
    same = one.model_copy(update={"n": 1}) == other.model_copy(update={"n": 1})
    assert same or codec.body_of(one) != codec.body_of(other)


def test_checksum_is_short_and_stable() -> None:
    assert codec.checksum(b'{"type":"end"}') == "14fad63ef2056ec5"


def test_a_stored_body_that_is_none_is_refused() -> None:
    for body in (b"", b"{}", b'{"type":"ping"}', b'{"type":"hello","client":"12345678"}'):
        with pytest.raises(ProtocolError):
            codec.input_from(body)


@thorough
@given(st.integers(1, 2**40), maybe_names, st.integers(1, 9), st.lists(built_events, min_size=1, max_size=3))
def test_fast_events_are_the_model_encoded(
    seq: int, turn: str | None, attempt: int, made: list[list[events.Event]]
) -> None:
    flat = [event for group in made for event in group]
    fast = codec.encode_events(seq, "mark", turn, attempt, flat)
    model = Events(seq=seq, mark="mark", turn=turn, attempt=attempt, events=flat)
    assert codec.decode_server(fast) == model
    assert fast == codec.encode(model)
    assert codec.pack(seq, "mark", turn, attempt, flat) == [(seq, seq + len(flat) - 1, fast)]


@thorough
@given(st.builds(Ack, n=numbers, index=st.none() | counts, turn=maybe_names, duplicate=st.booleans(), queued=counts))
def test_fast_ack_is_the_model_encoded(ack: Ack) -> None:
    fast = codec.encode_ack(ack.n, queued=ack.queued, duplicate=ack.duplicate, index=ack.index, turn=ack.turn)
    assert codec.decode_server(fast) == ack


@pytest.mark.parametrize("t", [None, 0, 1.5, "abc"])
def test_fast_pong_is_the_model_encoded(t: float | str | None) -> None:
    assert codec.encode_pong(t, 12) == codec.encode(Pong(t=t, time=12))


def test_absent_members_are_left_out_and_a_null_turn_is_not() -> None:
    assert codec.encode(Ack(n=1, duplicate=False, queued=0)) == b'{"type":"ack","n":1,"duplicate":false,"queued":0}'
    assert b'"turn":null' in codec.encode_events(1, "m", None, 1, [events.text_end("a")])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 400_000), max_size=12), st.integers(1, 2**50), maybe_names)
def test_packed_frames_are_bounded_and_without_gap(sizes: list[int], seq: int, turn: str | None) -> None:
    made = [event for size in sizes for event in events.text_message("m", "\0x"[size % 2] * (size // 4))]
    packed = codec.pack(seq, "mark", turn, 1, made)
    assert all(len(item.frame) <= MAX_OUT_BYTES for item in packed)
    unpacked = [Events.model_validate_json(item.frame) for item in packed]
    assert [event for frame in unpacked for event in frame.events] == made
    expected = seq
    for item, frame in zip(packed, unpacked, strict=True):
        assert (item.first, frame.seq) == (expected, expected)
        assert item.last == item.first + len(frame.events) - 1
        expected = item.last + 1
    assert expected == seq + len(made)


def test_an_event_that_fits_in_no_frame_is_refused() -> None:
    with pytest.raises(ValueError, match=f"at most {MAX_OUT_BYTES}"):
        codec.pack(1, "m", None, 1, [events.text_end("a"), {"type": "CUSTOM", "value": "x" * MAX_OUT_BYTES}])


def durable(raw: bytes | str) -> Durable:
    frame = codec.decode(raw)
    assert isinstance(frame, Counted)
    return frame


def shuffled(value: Any, rng: random.Random) -> Any:
    """The same JSON with the members of every object in another order."""
    if isinstance(value, dict):
        names = list(value)
        rng.shuffle(names)
        return {name: shuffled(value[name], rng) for name in names}
    return [shuffled(item, rng) for item in value] if isinstance(value, list) else value
