"""JSON Patch (RFC 6902): applied to a document that stays as it was, in whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from app.protocol.values import MAX_BUILT_DEPTH, too_deep

MAX_COPIED = 1024 * 1024
"""What the `copy` operations of one patch may copy together: a value counts 1, a text its characters more."""

_INDEX = re.compile(r"0|[1-9][0-9]{0,8}")


class PatchError(ValueError):
    """The patch does not apply, and nothing of it was applied."""


def apply_patch(document: Any, patch: Iterable[Mapping[str, Any]]) -> Any:
    """The document that `patch` makes of `document`; both share what did not change.

    Raises: PatchError if an operation is none, its place is not there or its test fails, if more than MAX_COPIED is
    copied, or if the result is nested more than MAX_BUILT_DEPTH levels deep.
    """
    left = MAX_COPIED
    for operation in patch:
        if operation.get("op") == "copy":
            left = _charge(left, _at(document, _tokens(operation, "from")))
        document = _apply(document, operation)
    if too_deep(document, MAX_BUILT_DEPTH):
        raise PatchError(f"the result is nested more than {MAX_BUILT_DEPTH} levels deep")
    return document


def _apply(document: Any, operation: Mapping[str, Any]) -> Any:
    tokens = _tokens(operation, "path")
    match operation.get("op"):
        case "add":
            return _edit(document, tokens, _insert, _value(operation))
        case "replace":
            return _edit(document, tokens, _replace, _value(operation))
        case "remove":
            return _edit(document, tokens, _remove, None)
        case "copy":
            return _edit(document, tokens, _insert, _at(document, _tokens(operation, "from")))
        case "move":
            return _move(document, _tokens(operation, "from"), tokens)
        case "test":
            if not _same(_at(document, tokens), _value(operation)):
                raise PatchError(f"the value at {operation['path']!r} is another one")
            return document
        case _:
            raise PatchError("op: needs add, remove, replace, move, copy or test")


def _move(document: Any, source: list[str], target: list[str]) -> Any:
    if target == source:
        return document
    if target[: len(source)] == source:
        raise PatchError("a value cannot move into itself")
    value = _at(document, source)
    return _edit(_edit(document, source, _remove, None), target, _insert, value)


def _tokens(operation: Mapping[str, Any], member: str) -> list[str]:
    """The reference tokens of a JSON Pointer (RFC 6901)."""
    pointer = operation.get(member)
    if not isinstance(pointer, str) or (pointer and pointer[0] != "/"):
        raise PatchError(f"{member}: needs a JSON Pointer")
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]
    if len(tokens) > MAX_BUILT_DEPTH:
        raise PatchError(f"{member}: leads more than {MAX_BUILT_DEPTH} levels deep")
    return tokens


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError("value: missing")
    return operation["value"]


def _at(document: Any, tokens: list[str]) -> Any:
    for token in tokens:
        document = document[_key(document, token)]
    return document


def _key(container: Any, token: str) -> Any:
    """The key or index of a value that is there."""
    if isinstance(container, dict) and token in container:
        return token
    if isinstance(container, list) and _INDEX.fullmatch(token) and int(token) < len(container):
        return int(token)
    raise PatchError(f"there is no {token[:64]!r}")


def _edit(document: Any, tokens: list[str], change: Callable[[Any, str, Any], None], value: Any) -> Any:
    """`document` with `change` done at `tokens`; the containers on the way there are copies."""
    if not tokens:
        return value
    if not isinstance(document, dict | list):
        raise PatchError(f"there is no {tokens[0][:64]!r}")
    copy = document.copy()
    if len(tokens) == 1:
        change(copy, tokens[0], value)
    else:
        key = _key(copy, tokens[0])
        copy[key] = _edit(copy[key], tokens[1:], change, value)
    return copy


def _insert(container: Any, token: str, value: Any) -> None:
    if isinstance(container, dict):
        container[token] = value
    elif token in ("-", str(len(container))):
        container.append(value)
    else:
        container.insert(_key(container, token), value)


def _replace(container: Any, token: str, value: Any) -> None:
    container[_key(container, token)] = value


def _remove(container: Any, token: str, _: None) -> None:
    del container[_key(container, token)]


def _same(one: Any, other: Any) -> bool:
    """Equality of RFC 6902, section 4.6: 1 equals 1.0, and unlike in Python not true."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)


def _charge(left: int, value: Any) -> int:
    """What is left to copy after `value`. Stops counting where nothing is: shared values can be huge when walked."""
    stack = [value]
    while stack:
        item = stack.pop()
        left -= 1 + (len(item) if isinstance(item, str) else 0)
        if left < 0:
            raise PatchError(f"more than {MAX_COPIED} is copied")
        if isinstance(item, dict):
            stack += item.values()
        elif isinstance(item, list):
            stack += item
    return left
