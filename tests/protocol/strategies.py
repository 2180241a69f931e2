"""What the protocol's properties are tried with: JSON, frames of both sides, events and whole logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from app.protocol import events
from app.protocol.events import Event
from app.protocol.frames import (
    MAX_NUMBER,
    Ack,
    Bye,
    ErrorFrame,
    Events,
    Limits,
    Pong,
    Position,
    Reset,
    Snapshot,
    Welcome,
    Wire,
)
from app.protocol.inputs import (
    ActionInput,
    AnswerInput,
    CancelInput,
    DataSource,
    EditInput,
    EndInput,
    FeedbackInput,
    FileSource,
    Hello,
    MediaPart,
    MessageInput,
    MoveOperation,
    Ping,
    RemoveOperation,
    SettingsInput,
    StateInput,
    TextPart,
    UrlSource,
    ValueOperation,
)

texts = st.text(st.characters(codec="utf-8"), max_size=30)
any_texts = st.text(st.characters(), max_size=30)
"""With lone surrogates, which UTF-8 cannot carry."""
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20)
numbers = st.integers(1, MAX_NUMBER)
counts = st.integers(0, MAX_NUMBER)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
objects = st.dictionaries(texts, values, max_size=4)
positions = st.builds(Position, counts, texts)
maybe_names = st.none() | names


def _optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


sources = (
    st.builds(DataSource, value=texts, mime_type=names)
    | st.builds(UrlSource, value=texts, mime_type=maybe_names)
    | st.builds(FileSource, value=texts, provider=maybe_names, mime_type=maybe_names)
)
parts = st.builds(TextPart, id=maybe_names, text=texts, metadata=values) | st.builds(
    MediaPart,
    type=st.sampled_from(["image", "audio", "video", "document"]),
    id=maybe_names,
    source=sources,
    metadata=values,
)
contents = texts | st.lists(parts, min_size=1, max_size=4)
pointers = st.lists(names, max_size=3).map(
    lambda tokens: "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)
)
operations = (
    st.builds(ValueOperation, op=st.sampled_from(["add", "replace", "test"]), path=pointers, value=values)
    | st.builds(RemoveOperation, op=st.just("remove"), path=pointers)
    | st.builds(MoveOperation, op=st.sampled_from(["move", "copy"]), from_=pointers, path=pointers)
)
inputs = st.one_of(
    st.builds(
        MessageInput,
        n=numbers,
        content=contents,
        id=maybe_names,
        metadata=_optional(objects),
        command=maybe_names,
    ),
    st.builds(AnswerInput, n=numbers, ask=names, value=values),
    st.builds(AnswerInput, n=numbers, ask=names, cancelled=st.just(value=True)),
    st.builds(ActionInput, n=numbers, name=names, payload=objects, for_=maybe_names),
    st.builds(SettingsInput, n=numbers, values=objects),
    st.builds(StateInput, n=numbers, patch=st.lists(operations, min_size=1, max_size=4)),
    st.builds(EditInput, n=numbers, id=names, content=contents),
    st.builds(FeedbackInput, n=numbers, for_=names, value=st.integers(-5, 5) | texts, comment=_optional(texts)),
    st.builds(CancelInput, n=numbers, turn=maybe_names),
    st.builds(EndInput, n=numbers),
)
client_frames: st.SearchStrategy[Wire] = st.one_of(
    inputs,
    st.builds(
        Hello,
        client=st.from_regex(r"[A-Za-z0-9_-]{8,64}", fullmatch=True),
        session=maybe_names,
        agent=maybe_names,
        since=_optional(positions),
        token=_optional(texts),
        profile=maybe_names,
    ),
    st.builds(Ping, t=_optional(st.integers(-5, 2**53) | texts)),
)
server_frames: st.SearchStrategy[Wire] = st.one_of(
    st.builds(
        Welcome,
        session=texts,
        agent=texts,
        user=texts,
        worker=texts,
        resumed=st.booleans(),
        head=positions,
        acked=counts,
        known=st.booleans(),
        limits=st.builds(Limits, frame_bytes=counts, inbox=counts),
    ),
    st.builds(
        Events,
        seq=numbers,
        mark=texts,
        turn=_optional(texts),
        attempt=numbers,
        events=st.lists(objects, min_size=1, max_size=3),
    ),
    st.builds(
        Ack,
        n=numbers,
        index=_optional(counts),
        turn=maybe_names,
        duplicate=st.booleans(),
        queued=counts,
    ),
    st.builds(
        Reset,
        reason=st.sampled_from(["trimmed", "ahead", "diverged"]),
        head=positions,
        snapshot=st.builds(
            Snapshot,
            messages=st.lists(objects, max_size=2),
            state=values,
            open=st.lists(objects, max_size=2),
            truncated=st.booleans(),
        ),
    ),
    st.builds(
        ErrorFrame,
        code=texts,
        message=texts,
        n=_optional(numbers),
        retry_after_ms=_optional(counts),
        fatal=st.booleans(),
    ),
    st.builds(Pong, t=_optional(counts | texts), time=counts),
    st.builds(Bye, reason=texts, reconnect=st.booleans(), after_ms=counts),
)

ids = st.sampled_from(["a", "b", "c", "d", "e"])
"""So few that events meet."""
maybe_ids = st.none() | ids
strange_metadata = objects | st.builds(
    lambda elements: {"parley": {"elements": elements}}, values | st.lists(st.builds(dict, id=ids | values))
)
"""A client's metadata may look like ours, or nearly."""
patches = st.lists(
    operations.map(lambda operation: operation.wire())
    | st.builds(lambda value: {"op": "add", "path": "/status", "value": value}, st.sampled_from(["done", "running"])),
    max_size=3,
)
statuses = st.sampled_from(["running", "done", "failed", "cancelled"])
roles = st.sampled_from(["assistant", "user", "system", "developer"])


def _one(builder: Callable[..., Event], *args: Any, **kwargs: Any) -> st.SearchStrategy[list[Event]]:
    return st.builds(builder, *args, **kwargs).map(lambda event: [event])


built_events: st.SearchStrategy[list[Event]] = st.one_of(
    _one(events.run_started, ids, ids),
    _one(events.run_finished, ids, ids),
    _one(events.run_error, any_texts, st.sampled_from(sorted(events.RUN_ERROR_CODES))),
    _one(events.text_start, ids, roles, _optional(any_texts), _optional(objects)),
    _one(events.text_content, ids, any_texts),
    _one(events.text_end, ids),
    st.builds(events.text_message, ids, any_texts, roles, maybe_names, _optional(objects)),
    st.builds(events.user_message, ids, contents, _optional(strange_metadata)),
    _one(events.superseded, st.lists(ids, max_size=5)),
    _one(events.message_updated, ids, any_texts),
    _one(events.message_updated, ids, texts, name=names, metadata=objects, language=names),
    _one(events.message_removed, ids),
    _one(events.tool_call_start, ids, names, maybe_ids, _optional(objects)),
    _one(events.tool_call_args, ids, any_texts),
    _one(events.tool_call_end, ids),
    _one(events.tool_call_result, ids, ids, any_texts),
    _one(
        events.step_snapshot,
        ids,
        names,
        step_type=names,
        parent=maybe_ids,
        step_input=values,
        output=values,
        status=statuses,
    ),
    _one(events.task_list, ids, objects),
    _one(events.activity_delta, ids, st.sampled_from(["step", "task_list"]), patches),
    _one(
        events.ask,
        ids,
        names,
        any_texts,
        expires_at=counts,
        options=_optional(st.lists(values, max_size=3)),
        schema=_optional(objects),
    ),
    _one(events.ask_resolved, ids, st.sampled_from(["answered", "cancelled", "expired"]), values),
    _one(events.actions, ids, st.lists(objects, max_size=3)),
    _one(events.element, ids, objects, maybe_ids),
    _one(events.element_removed, ids),
    _one(events.settings_form, objects),
    _one(events.toast, any_texts),
    _one(events.state_snapshot, values),
    _one(events.state_delta, patches),
)
"""What each builder makes, as a list of events."""

frames_of_events = st.builds(
    lambda turn, attempt, groups: {
        "turn": turn,
        "attempt": attempt,
        "events": [event for group in groups for event in group],
    },
    st.none() | ids,
    st.integers(1, 3),
    st.lists(built_events, min_size=1, max_size=3),
)


def numbered(appends: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`events` frames, as parsed, of `appends` one after the other."""
    frames = []
    seq = 1
    for append in appends:
        frames.append({"type": "events", "seq": seq, "mark": f"m{append['attempt']}", **append})
        seq += len(append["events"])
    return frames


logs = st.lists(frames_of_events, max_size=8).map(numbered)
"""A session's log, however unlikely: a fold has to get over all of them."""
