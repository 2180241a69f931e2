# ruff: noqa: INP001  # a folder of scripts
"""Writes docs/settings.md from the settings: `.venv/bin/python tools/settings_table.py > docs/settings.md`."""

from __future__ import annotations

import sys
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.settings import Settings

HEAD = """\
# Settings

Made by `tools/settings_table.py` from `app/settings.py`; a test keeps it current.

A flag of `parley serve` wins over the environment, which wins over `.env` in the working directory. The flags are
`--host`, `--port`, `--workers` and `--handlers`. Sizes are bytes and durations are seconds, unless the name says
otherwise. A value out of its bounds stops the server with one line that names the variable.

Not built yet: `PARLEY_AUTH_JWKS` is refused.

| variable | value | default | meaning |
| --- | --- | --- | --- |"""

COMPUTED = {"executor_threads": "CPUs + 4, at most 32"}
"""Defaults that differ from machine to machine."""

TYPES: dict[Any, str] = {
    bool: "`1` or `0`",
    float: "seconds",
    int: "number",
    Path: "path",
    SecretStr: "secret",
    str: "text",
}
"""A float is a duration in every one of our settings."""


def main() -> None:
    """Write the page."""
    rows = (row(name, field) for name, field in Settings.model_fields.items())
    sys.stdout.write("\n".join([HEAD, *rows]) + "\n")


def row(name: str, field: FieldInfo) -> str:
    """One setting's line of the table."""
    meaning = " ".join((field.description or "").split()).replace("|", "\\|")
    for other in Settings.model_fields:
        meaning = meaning.replace(f"`{other}`", f"`{variable_of(other)}`")
    return f"| `{variable_of(name)}` | {value_of(field)} | {default_of(name, field)} | {meaning} |"


def variable_of(name: str) -> str:
    """The environment variable of a setting."""
    return str(Settings.model_fields[name].validation_alias or f"PARLEY_{name.upper()}")


def value_of(field: FieldInfo) -> str:
    """What may be set, in words."""
    kind = next(kind for kind in (*get_args(field.annotation), field.annotation) if kind is not NoneType)
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    if get_origin(field.annotation) is tuple:
        return "list, by commas"
    return TYPES[kind] + bounds_of(field)


def bounds_of(field: FieldInfo) -> str:
    """The bounds, as words that follow the type."""
    bounds = {
        name: getattr(item, name) for item in field.metadata for name in ("ge", "gt", "le") if hasattr(item, name)
    }
    match bounds:
        case {"ge": least, "le": most}:
            return f", {least:,} to {most:,}"
        case {"gt": below, "le": most}:
            return f", above {below:,}, at most {most:,}"
        case {"ge": least}:
            return f", {least:,} or more"
    return ""


def default_of(name: str, field: FieldInfo) -> str:
    """The default as one would write it."""
    if name in COMPUTED:
        return COMPUTED[name]
    value = field.default
    if value is None or value == ():
        return "none"
    if isinstance(value, bool):
        return f"`{int(value)}`"
    if isinstance(value, tuple):
        return f"`{','.join(value)}`"
    return f"`{value}`"


if __name__ == "__main__":
    main()
