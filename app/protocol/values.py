"""JSON values: how large and how deep they are, and text that can be written as UTF-8."""

from __future__ import annotations

from bisect import bisect_right

import orjson

MAX_DEPTH = 64
"""Levels of lists and objects in a frame of a client."""
MAX_BUILT_DEPTH = 2 * MAX_DEPTH
"""Levels in what a server builds around such values. orjson writes 254 and refuses to go deeper."""
MAX_VALUE_BYTES = 256 * 1024
"""JSON bytes of the values of one input (a message's text apart) and of one updated message's content."""


def too_deep(value: object, limit: int) -> bool:
    """Whether `value` nests lists and objects more than `limit` levels deep."""
    level = [value]
    for _ in range(limit + 1):
        inner: list[object] = []
        for item in level:
            if isinstance(item, dict):
                inner += item.values()
            elif isinstance(item, list):
                inner += item
        if not inner:
            return False
        level = inner
    return True


def size(value: object) -> int:
    """The bytes of `value` as JSON. Raises: TypeError if it is not JSON."""
    return len(orjson.dumps(value))


def text_size(text: str) -> int:
    """The bytes of `text` inside a JSON string. It adds up: a text is as large as its pieces together."""
    return len(orjson.dumps(text)) - 2


def cut(text: str, room: int) -> str:
    """The longest beginning of `text` that has at most `room` bytes inside a JSON string."""
    lengths = range(1, len(text) + 1)
    return text[: bisect_right(lengths, room, key=lambda length: text_size(text[:length]))]


def clean(text: str) -> str:
    """`text` without lone surrogates, which UTF-8 cannot carry: a split pair is joined, the rest are U+FFFD.

    Raises: TypeError if it is no text: it may come from an author's code that nobody type-checked.
    """
    if not isinstance(text, str):
        raise TypeError(f"needs a text, not {type(text).__name__}")
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
