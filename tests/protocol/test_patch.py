"""JSON Patch as RFC 6902 has it: the cases of its appendix, what must fail, and that nothing is changed in place."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.protocol.patch import MAX_COPIED, PatchError, apply_patch
from app.protocol.values import MAX_BUILT_DEPTH
from tests.protocol.strategies import operations, values

Case = tuple[Any, list[dict[str, Any]], Any]


def op(name: str, path: str, **more: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **more}


def case(before: Any, *patch: dict[str, Any], after: Any) -> Case:
    return before, list(patch), after


@pytest.mark.parametrize(
    ("before", "patch", "after"),
    [
        case({"a": 1}, op("add", "/b", value=2), after={"a": 1, "b": 2}),
        case({"a": 1}, op("add", "/a", value=None), after={"a": None}),
        case({"a": [1, 2]}, op("add", "/a/1", value=3), after={"a": [1, 3, 2]}),
        case({"a": [1, 2]}, op("add", "/a/2", value=3), after={"a": [1, 2, 3]}),
        case({"a": [1, 2]}, op("add", "/a/-", value=[3]), after={"a": [1, 2, [3]]}),
        case({"a": 1}, op("add", "", value=[1]), after=[1]),
        case({"a": 1, "b": 2}, op("remove", "/b"), after={"a": 1}),
        case({"a": [1, 2, 3]}, op("remove", "/a/1"), after={"a": [1, 3]}),
        case({"a": 1}, op("remove", ""), after=None),
        case({"a": 1}, op("replace", "/a", value=2), after={"a": 2}),
        case([1, 2], op("replace", "/0", value=3), after=[3, 2]),
        case({"a": 1}, op("replace", "", value=2), after=2),
        case({"a": {"b": 1}, "c": {}}, op("move", "/c/b", **{"from": "/a/b"}), after={"a": {}, "c": {"b": 1}}),
        case([1, 2, 3, 4], op("move", "/3", **{"from": "/1"}), after=[1, 3, 4, 2]),
        case({"a": 1}, op("move", "/a", **{"from": "/a"}), after={"a": 1}),
        case({"a": {"b": 1}}, op("move", "", **{"from": "/a"}), after={"b": 1}),
        case({"a": [1]}, op("copy", "/b", **{"from": "/a"}), after={"a": [1], "b": [1]}),
        case({"a": [1]}, op("copy", "/b", **{"from": "/a"}), op("add", "/b/-", value=2), after={"a": [1], "b": [1, 2]}),
        case(
            {"a": 1, "b": [1, {"c": "x"}]},
            op("test", "/b", value=[1.0, {"c": "x"}]),
            after={"a": 1, "b": [1, {"c": "x"}]},
        ),
        case({"/": 9, "~1": 10}, op("test", "/~01", value=10), op("test", "/~1", value=9), after={"/": 9, "~1": 10}),
        case({"": 1}, op("replace", "/", value=2), after={"": 2}),
        case({"1": 0}, op("replace", "/1", value=2), after={"1": 2}),
        case({"a": 1}, op("add", "/b", value=1) | {"extra": 5}, after={"a": 1, "b": 1}),
    ],
)
def test_applies(before: Any, patch: list[dict[str, Any]], after: Any) -> None:
    assert apply_patch(before, patch) == after


@pytest.mark.parametrize(
    ("before", "patch", "words"),
    [
        ({"a": 1}, op("add", "/b/c", value=1), "no 'b'"),
        ({"a": 1}, op("add", "/a/c", value=1), "no 'c'"),
        ([1], op("add", "/2", value=1), "no '2'"),
        ([1], op("add", "/01", value=1), "no '01'"),
        ([1], op("add", "/-1", value=1), "no '-1'"),
        ([1], op("add", "/" + "9" * 5_000, value=1), "no '999"),
        ([1], op("replace", "/-", value=1), "no '-'"),
        ([1], op("remove", "/1"), "no '1'"),
        ([1], op("remove", "/\u0661"), "no '\u0661'"),
        ({"a": 1}, op("remove", "/b"), "no 'b'"),
        ({"a": 1}, op("replace", "/b", value=1), "no 'b'"),
        ({"a": {"b": 1}}, op("move", "/a/b/c", **{"from": "/a"}), "into itself"),
        ({"a": 1}, op("move", "/a", **{"from": ""}), "into itself"),
        ({"a": 1}, op("copy", "/b", **{"from": "/c"}), "no 'c'"),
        ({"a": 1}, op("test", "/a", value=True), "another one"),
        ({"a": 0}, op("test", "/a", value=False), "another one"),
        ({"a": "1"}, op("test", "/a", value=1), "another one"),
        ({"a": [1]}, op("test", "/a", value=[1, 2]), "another one"),
        ({"a": 1}, op("add", "b", value=1), "path: needs a JSON Pointer"),
        ({"a": 1}, op("copy", "/b"), "from: needs a JSON Pointer"),
        ({"a": 1}, op("add", "/b"), "value: missing"),
        ({"a": 1}, op("merge", "/b"), "op: needs"),
        ({"a": 1}, op("add", "/a" * 200, value=1), f"more than {MAX_BUILT_DEPTH} levels"),
    ],
)
def test_refuses(before: Any, patch: dict[str, Any], words: str) -> None:
    with pytest.raises(PatchError, match=words):
        apply_patch(before, [patch])


def test_a_patch_applies_in_whole_or_not_at_all() -> None:
    document = {"a": [1]}
    with pytest.raises(PatchError):
        apply_patch(document, [op("add", "/a/-", value=2), op("remove", "/b")])
    assert document == {"a": [1]}


def test_doubling_ends_at_the_bound() -> None:
    doubling = [op("copy", f"/{number}", **{"from": ""}) for number in range(100)]
    with pytest.raises(PatchError, match=str(MAX_COPIED)):
        apply_patch({"a": "x" * 1000}, doubling)


def test_a_result_too_deep_is_refused() -> None:
    deeper = [op("add", "/a" * level, value={}) for level in range(1, MAX_BUILT_DEPTH + 1)]
    document = apply_patch({}, deeper)
    with pytest.raises(PatchError, match="levels deep"):
        apply_patch(
            {"b": document, "c": 1},
            [op("move", "/b" + "/a" * 100 + "/c", **{"from": "/c"})] * 1
            + [op("copy", "/b" + "/a" * 100 + "/d", **{"from": "/b"})],
        )


@settings(deadline=None, max_examples=200)
@given(values, st.lists(operations.map(lambda operation: operation.wire()), max_size=4))
def test_the_document_and_the_patch_stay_as_they_were(document: Any, patch: list[dict[str, Any]]) -> None:
    before = deepcopy((document, patch))
    try:
        after = apply_patch(document, patch)
    except PatchError:
        pass
    else:
        assert apply_patch(document, patch) == after
    assert (document, patch) == before
