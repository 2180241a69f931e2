"""A log folds to the same whatever its pieces, within its bounds, and says what is open and what was shown."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
import pytest
from ag_ui.core import Message
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from app.protocol import codec, events, fold, messages
from app.protocol.events import Event
from app.protocol.fold import Fold
from app.protocol.frames import MAX_OUT_BYTES, START, Events, Position, Reset
from tests.protocol.strategies import logs, numbered

Frame = dict[str, Any]
agui_message = TypeAdapter[Any](Message)


def log(*made: Event, turn: str | None = "t", attempt: int = 1) -> list[Frame]:
    """A log of one frame."""
    return numbered([{"turn": turn, "attempt": attempt, "events": list(made)}])


def folded(frames: list[Frame]) -> Fold:
    made = Fold()
    for frame in frames:
        made.apply(frame)
    return made


def chat(*made: Event) -> Fold:
    """A running turn that has made these."""
    return folded(log(events.run_started("s", "t"), *made))


def reset_bytes(made: Fold) -> bytes:
    return codec.encode(
        Reset(reason="trimmed", head=Position(2**53 - 1, "x" * 256), snapshot=made.snapshot())  # type: ignore[arg-type]
    )


def in_pieces(frames: list[Frame], data: st.DataObject) -> Fold:
    """The log folded in frames cut anew, put away and taken up again, some of them twice, and as models."""
    made = Fold()
    for frame in frames:
        start = 0
        while start < len(frame["events"]):
            end = data.draw(st.integers(start + 1, len(frame["events"])))
            piece = {**frame, "seq": frame["seq"] + start, "events": frame["events"][start:end]}
            for _ in range(data.draw(st.integers(1, 2))):
                made.apply(Events.model_validate(piece) if data.draw(st.booleans()) else piece)
            if data.draw(st.booleans()):
                made = Fold.load(made.dump())
            start = end
    return made


@settings(deadline=None, max_examples=80)
@given(logs, st.data())
def test_pieces_make_no_difference(frames: list[Frame], data: st.DataObject) -> None:
    before = deepcopy(frames)
    whole = folded(frames)
    pieces = in_pieces(frames, data)
    assert pieces.dump() == whole.dump()
    assert pieces.snapshot() == whole.snapshot()
    assert pieces.closing_events() == whole.closing_events()
    assert frames == before


@settings(deadline=None, max_examples=80)
@given(logs, st.data())
def test_pieces_make_no_difference_at_the_bounds(frames: list[Frame], data: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(messages, "MAX_MESSAGES", 3)
        patch.setattr(messages, "MESSAGES_BYTES", 500)
        patch.setattr(messages, "MESSAGE_BYTES", 300)
        patch.setattr(fold, "MAX_OPEN", 2)
        patch.setattr(fold, "OPEN_BYTES", 300)
        patch.setattr(fold, "MAX_STATE_BYTES", 30)
        patch.setattr(fold, "MAX_SUPERSEDED", 2)
        whole = folded(frames)
        pieces = in_pieces(frames, data)
        assert pieces.dump() == whole.dump()
        assert pieces.snapshot() == whole.snapshot()
        assert len(whole.snapshot()["messages"]) <= 3
        assert sum(len(orjson.dumps(message)) for message in whole.snapshot()["messages"][1:]) <= 500
        assert all(len(orjson.dumps(message)) <= 300 for message in whole.snapshot()["messages"])


@settings(deadline=None, max_examples=80)
@given(logs)
def test_messages_of_a_snapshot_are_agui_and_closing_closes(frames: list[Frame]) -> None:
    made = folded(frames)
    snapshot = made.snapshot()
    for message in snapshot["messages"]:
        agui_message.validate_python(message)
    running = [thing["id"] for thing in snapshot["open"] if thing["kind"] == "turn"]
    closing = {"turn": None, "attempt": 1, "mark": "m", "events": made.closing_events()}
    made.apply({**closing, "seq": made.position.seq + 1})
    assert not [thing for thing in made.snapshot()["open"] if thing.get("turn") in running]
    assert made.closing_events() == []


def test_nothing_folds_to_nothing() -> None:
    made = Fold()
    assert made.position == START
    assert made.snapshot() == {"messages": [], "state": None, "open": [], "truncated": False}
    assert (made.shown("t"), made.closing_events()) == ([], [])


def test_a_conversation() -> None:
    made = folded(
        log(
            events.run_started("s", "t"),
            *events.user_message("u", "hello", {"a": 1}),
            *events.text_message("m", "Received: hello", name="Echo", metadata={"parley": {"language": "en"}}),
            events.run_finished("s", "t"),
        )
    )
    assert made.position == Position(8, "m1")
    assert made.snapshot() == {
        "messages": [
            {"id": "u", "role": "user", "metadata": {"a": 1}, "content": "hello"},
            {
                "id": "m",
                "role": "assistant",
                "name": "Echo",
                "metadata": {"parley": {"language": "en"}},
                "content": "Received: hello",
            },
        ],
        "state": None,
        "open": [],
        "truncated": False,
    }


def test_what_is_open_and_how_it_closes() -> None:
    asked = events.ask("q", "text", "Which?", expires_at=9)
    made = chat(
        events.step_snapshot("st", "think", step_type="llm"),
        events.text_start("m"),
        events.text_content("m", "hel"),
        events.tool_call_start("c", "search", "st"),
        events.tool_call_args("c", '{"q":'),
        asked,
    )
    snapshot = made.snapshot()
    assert snapshot["open"] == [
        {"kind": "turn", "id": "t", "attempt": 1},
        {"kind": "step", "id": "st", "turn": "t"},
        {"kind": "text", "id": "m", "turn": "t"},
        {"kind": "tool_call", "id": "c", "turn": "t"},
        {"kind": "ask", "id": "q", "turn": "t", "value": asked["value"]},
    ]
    assert [message["id"] for message in snapshot["messages"]] == ["st", "m", "c"]
    assert snapshot["messages"][2] == {
        "id": "c",
        "role": "assistant",
        "metadata": {"parley": {"parent": "st"}},
        "toolCalls": [{"id": "c", "type": "function", "function": {"name": "search", "arguments": '{"q":'}}],
    }
    assert made.closing_events() == [
        events.ask_resolved("q", "cancelled"),
        events.tool_call_end("c"),
        events.text_end("m"),
        events.activity_delta("st", "step", [{"op": "add", "path": "/status", "value": "cancelled"}]),
    ]
    assert made.shown("t") == ["st", "m", "c"]
    assert made.shown("other") == []


def test_each_end_closes_its_own() -> None:
    made = chat(
        events.text_start("x"),
        events.tool_call_start("x2", "search"),
        events.step_snapshot("x3", "think", step_type="llm"),
        events.ask("x", "text", "Which?", expires_at=9),
        events.text_end("x"),
        events.tool_call_end("x2"),
        events.tool_call_result("r", "x2", "found"),
        events.activity_delta("x3", "step", [{"op": "replace", "path": "/status", "value": "done"}]),
    )
    assert made.closing_events() == [events.ask_resolved("x", "cancelled")]
    assert made.snapshot()["messages"][-1] == {"id": "r", "role": "tool", "toolCallId": "x2", "content": "found"}
    assert made.snapshot()["messages"][2]["content"]["status"] == "done"


def test_a_new_attempt_supersedes_the_earlier() -> None:
    first = chat(*events.user_message("u", "hi"), events.text_start("m1"), events.text_content("m1", "half"))
    closing = first.closing_events()
    second: list[Event] = [
        *closing,
        events.superseded(first.shown("t")),
        events.run_started("s", "t"),
        events.text_start("m2"),
    ]
    first.apply({"seq": first.position.seq + 1, "mark": "m2", "turn": "t", "attempt": 2, "events": second})
    snapshot = first.snapshot()
    assert [message["id"] for message in snapshot["messages"]] == ["u", "m2"]
    assert snapshot["open"][0] == {"kind": "turn", "id": "t", "attempt": 2}
    assert first.shown("t") == ["m2"]


def test_a_terminal_event_ends_only_its_own_turn() -> None:
    made = chat(events.text_start("m"))
    rejected = events.run_error("busy", "rejected")
    made.apply({"seq": 3, "mark": "m", "turn": "other", "attempt": 1, "events": [rejected]})
    assert [thing["id"] for thing in made.snapshot()["open"]] == ["t", "m"]
    ended = events.run_error("no", "cancelled")
    made.apply({"seq": 4, "mark": "m", "turn": "t", "attempt": 1, "events": [ended]})
    assert made.snapshot()["open"] == []
    assert made.shown("t") == []


def test_a_push_is_no_turns_message() -> None:
    made = chat()
    pushed = events.text_message("p", "news")
    made.apply({"seq": 2, "mark": "m", "turn": None, "attempt": 1, "events": pushed})
    assert made.shown("t") == []
    assert made.snapshot()["messages"] == [{"id": "p", "role": "assistant", "content": "news"}]


def test_updates_and_removals() -> None:
    made = chat(
        *events.text_message("m", "one", metadata={"a": 1}),
        *events.text_message("gone", "two"),
        events.message_updated("m", "three", name="Ann", language="en"),
        events.message_removed("gone"),
        events.message_updated("gone", "ghost"),
        events.actions("m", [{"name": "go"}]),
        events.element("e1", {"type": "text", "content": "1"}, "m"),
        events.element("e2", {"type": "text", "content": "2"}, "m"),
        events.element("e1", {"type": "text", "content": "3"}, "m"),
    )
    assert made.snapshot()["messages"] == [
        {
            "id": "m",
            "role": "assistant",
            "name": "Ann",
            "content": "three",
            "metadata": {
                "a": 1,
                "parley": {
                    "language": "en",
                    "actions": [{"name": "go"}],
                    "elements": [
                        {"id": "e1", "messageId": "m", "type": "text", "content": "3"},
                        {"id": "e2", "messageId": "m", "type": "text", "content": "2"},
                    ],
                },
            },
        }
    ]
    assert made.shown("t") == ["m"]


def test_buttons_and_elements_stay_when_a_messages_metadata_change() -> None:
    made = chat(
        *events.text_message("m", "one", metadata={"parley": {"error": True, "old": 1}}),
        events.actions("m", [{"name": "go"}]),
        events.element("e", {"type": "text"}, "m"),
        events.message_updated("m", "two", metadata={"parley": {"error": True}}),
    )
    assert made.snapshot()["messages"][0]["metadata"] == {
        "parley": {
            "error": True,
            "actions": [{"name": "go"}],
            "elements": [{"id": "e", "messageId": "m", "type": "text"}],
        }
    }


def test_an_element_alone_is_a_message_and_is_one_wherever_it_stands() -> None:
    made = chat(events.element("e", {"type": "text", "content": "1"}), *events.text_message("m", "one"))
    alone = {"id": "e", "role": "activity", "activityType": "element"}
    assert made.snapshot()["messages"][0] == alone | {"content": {"id": "e", "type": "text", "content": "1"}}
    assert made.shown("t") == ["e", "m"]

    def told(event: Event) -> list[dict[str, Any]]:
        made.apply({"seq": made.position.seq + 1, "mark": "m", "turn": "t", "attempt": 1, "events": [event]})
        messages: list[dict[str, Any]] = made.snapshot()["messages"]
        return messages

    assert told(events.element("e", {"type": "text", "content": "2"}))[0]["content"]["content"] == "2"
    (message,) = told(events.element("e", {"type": "text"}, "m"))
    assert [e["id"] for e in message["metadata"]["parley"]["elements"]] == ["e"]
    assert made.shown("t") == ["m"]
    told(events.element("f", {"type": "text"}, "m"))
    (message,) = told(events.element_removed("e"))
    assert [e["id"] for e in message["metadata"]["parley"]["elements"]] == ["f"]
    message, other = told(events.element("f", {"type": "text"}))
    assert (message["metadata"]["parley"]["elements"], other["id"]) == ([], "f")
    assert [m["id"] for m in told(events.element_removed("f"))] == ["m"]
    told(events.element("g", {}))
    assert [m["id"] for m in told(events.superseded(["g"]))] == ["m"]


def test_the_settings_form_is_kept_as_it_was_last_shown() -> None:
    made = chat(events.settings_form({"inputs": [], "values": {"a": 1}}))
    form = {"inputs": [{"id": "a"}], "values": {"a": 2}}
    made.apply({"seq": 3, "mark": "m", "turn": "t", "attempt": 1, "events": [events.settings_form(form)]})
    assert Fold.load(made.dump()).snapshot()["settings"] == form
    with pytest.raises(ValueError, match=r"settings: \d+ bytes as JSON, at most 40960"):
        events.settings_form({"inputs": ["x" * 41_000]})


@pytest.mark.parametrize("parley", [5, {"elements": 5}, {"elements": [5, "e", {"id": "e"}]}])
def test_metadata_that_only_look_like_ours_do_no_harm(parley: Any) -> None:
    made = chat(
        *events.user_message("u", "hi", {"parley": parley}),
        events.element("e", {"type": "text"}, "u"),
        events.actions("u", []),
    )
    ours = made.snapshot()["messages"][0]["metadata"]["parley"]
    assert ours["elements"][-1] == {"type": "text", "id": "e", "messageId": "u"}


def test_an_open_text_goes_on_from_its_update() -> None:
    made = chat(
        events.text_start("m"),
        events.text_content("m", "one"),
        events.message_updated("m", "two"),
        events.text_content("m", ", three"),
        events.text_end("m"),
        events.text_content("m", ", too late"),
    )
    assert made.snapshot()["messages"][0]["content"] == "two, three"


def test_shared_state() -> None:
    made = chat(
        events.state_snapshot({"a": [1]}),
        events.state_delta([{"op": "add", "path": "/a/-", "value": 2}]),
        events.state_delta([{"op": "add", "path": "/a/-", "value": 3}, {"op": "remove", "path": "/b"}]),
    )
    assert made.snapshot()["state"] == {"a": [1, 2]}
    assert not made.truncated


def test_a_state_that_outgrows_its_bound_stays_as_it_was_and_says_so() -> None:
    grow = events.state_delta([{"op": "add", "path": "/-", "value": "x" * 1000}])
    made = chat(events.state_snapshot([]), *[grow] * 200)
    assert 120_000 < len(orjson.dumps(made.snapshot()["state"])) <= events.MAX_STATE_BYTES
    assert made.snapshot()["truncated"]


def test_a_gap_is_refused_and_a_repetition_passed_over() -> None:
    made = folded(log(events.text_start("m"), events.text_content("m", "a")))
    made.apply({**log(events.text_start("m"), events.text_content("m", "a"), events.text_content("m", "b"))[0]})
    assert made.snapshot()["messages"][0]["content"] == "ab"
    with pytest.raises(ValueError, match="events from 5 do not follow 3"):
        made.apply({"seq": 5, "mark": "m", "turn": None, "attempt": 1, "events": [events.text_end("m")]})


def test_the_oldest_messages_go_first_and_open_ones_last() -> None:
    made = chat(events.text_start("open"))
    for number in range(300):
        for event in events.text_message(f"m{number}", "x"):
            made.apply({"seq": made.position.seq + 1, "mark": "m", "turn": "t", "attempt": 1, "events": [event]})
    snapshot = made.snapshot()
    assert [message["id"] for message in snapshot["messages"]] == [
        "open",
        *(f"m{number}" for number in range(101, 300)),
    ]
    assert snapshot["truncated"]
    assert len(made.shown("t")) == 301


@pytest.mark.parametrize("character", ["x", '"', "\0", "é", "😀"])
def test_a_snapshot_at_all_its_bounds_fits_in_a_frame(character: str) -> None:
    long = character * 40_000
    made = chat(events.state_snapshot("x" * 130_000), events.settings_form({"inputs": ["x" * 40_000]}))
    asks = [events.ask(f"q{number}", "text", "x" * 30_000, expires_at=1) for number in range(20)]
    texts = [events.text_message(f"m{number}", long) for number in range(30)]
    endless = [events.text_start("endless"), *[events.text_content("endless", "x" + long[:30_000])] * 40]
    made.apply({**log(*asks, *[event for text in texts for event in text], *endless)[0], "seq": 4})
    assert len(reset_bytes(made)) <= MAX_OUT_BYTES
    assert len(made.dump()) <= 700 * 1024
    snapshot = made.snapshot()
    assert snapshot["truncated"]
    assert snapshot["messages"][-1]["id"] == "endless"
    assert 250_000 < len(orjson.dumps(snapshot["messages"][-1])) <= messages.MESSAGE_BYTES
    assert snapshot["state"] is not None
    assert snapshot["settings"] is not None
    assert len(snapshot["open"]) == 4  # the turn, two asks of 30,000 bytes, the text


def test_two_hundred_messages_of_two_kilobytes_are_all_there() -> None:
    made = chat(*[event for number in range(200) for event in events.text_message(str(number), "x" * 2_000)])
    assert len(made.snapshot()["messages"]) == 200
    assert not made.truncated
    assert len(reset_bytes(made)) <= MAX_OUT_BYTES


def test_a_message_too_large_loses_its_largest_members() -> None:
    made = chat(
        *events.text_message("m", "words", metadata={"small": 1, "large": "x" * 300_000}),
        events.step_snapshot("s", "think", step_type="llm", step_input="x" * 100, output="y" * 400_000),
    )
    text, step = made.snapshot()["messages"]
    assert (text["content"], text["metadata"]) == ("words", {"small": 1})
    assert step["content"] == {"name": "think", "type": "llm", "parent": None, "input": "x" * 100, "status": "running"}
    assert made.truncated


def test_an_id_used_twice_is_the_later_thing() -> None:
    made = chat(
        events.text_start("x"),
        events.tool_call_start("x", "search"),
        events.text_content("x", "late"),
        events.tool_call_args("x", "{}"),
    )
    assert made.closing_events() == [events.tool_call_end("x")]
    assert made.snapshot()["messages"][0]["toolCalls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize("character", ["x", "\0", "😀"])
def test_all_that_is_shown_can_be_superseded_at_once(character: str) -> None:
    ids = [f"{number:04}".ljust(256, character) for number in range(1500)]
    shown = chat(*[events.text_end(id_) for id_ in ids], *[events.text_start(id_) for id_ in ids]).shown("t")
    assert shown == ids[-len(shown) :]
    assert 200 < len(shown) <= 1000
    assert codec.pack(1, "m", "t", 1, [events.superseded(shown)])


def test_more_open_than_the_bound_forgets_the_oldest() -> None:
    made = chat(*[events.text_start(str(number)) for number in range(300)])
    assert Fold.load(made.dump()).truncated
    assert len(made.closing_events()) == 256
    assert made.closing_events()[-1] == events.text_end("44")


def test_a_long_stream_is_whole() -> None:
    made = chat(events.text_start("m"), *[events.text_content("m", "word ")] * 40_000)
    assert made.snapshot()["messages"][0]["content"] == "word " * 40_000


@pytest.mark.parametrize("stored", [b"", b"{}", b"[]", b'{"position":[1]}', b"\xff", b"null"])
def test_what_is_no_stored_fold_is_refused(stored: bytes) -> None:
    with pytest.raises(ValueError, match="not a stored fold"):
        Fold.load(stored)
