"""Values as they are shown: whatever an author hands over becomes JSON of a bounded size."""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel

from app.protocol.values import MAX_DEPTH, clean, cut, too_deep

MAX_SHOWN = 64 * 1024
"""JSON bytes of one value that is shown, such as a step's input. A longer one is cut, and says so."""


def shown(value: Any, most: int = MAX_SHOWN) -> Any:
    """`value` as JSON: what JSON does not know by its `str`, what is too large as a text whose end is cut."""
    if isinstance(value, str):
        return _text(value, most)
    try:
        encoded = orjson.dumps(value, default=_plain, option=orjson.OPT_NON_STR_KEYS)
    except (TypeError, ValueError):
        return _text(str(value), most)
    made = orjson.loads(encoded)
    if len(encoded) > most or too_deep(made, MAX_DEPTH):
        return _text(encoded.decode(), most)
    return made


def text_of(value: Any, most: int = MAX_SHOWN) -> str:
    """`value` as a text: one stays what it is, all else is written as JSON."""
    made = shown(value, most)
    return made if isinstance(made, str) else orjson.dumps(made).decode()


def _text(text: str, most: int) -> str:
    text = clean(text)
    if len(text) * 6 <= most:
        return text
    kept = cut(text[:most], most)
    return text if kept == text else f"{kept}… (cut: {len(text)} characters)"


def _plain(value: object) -> object:
    """What orjson is to write for an object that it does not know."""
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)
