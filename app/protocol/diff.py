"""The JSON Patch (RFC 6902) that makes one JSON value of another."""

from __future__ import annotations

from typing import Any


def diff(before: Any, after: Any, path: str = "") -> list[dict[str, Any]]:
    """The operations that turn `before` into `after`: member by member in objects, whole for everything else."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return [] if _same(before, after) else [{"op": "replace", "path": path, "value": after}]
    operations = [{"op": "remove", "path": _child(path, name)} for name in before if name not in after]
    for name, value in after.items():
        if name not in before:
            operations.append({"op": "add", "path": _child(path, name), "value": value})
        else:
            operations += diff(before[name], value, _child(path, name))
    return operations


def _same(before: Any, after: Any) -> bool:
    """Equal as JSON: true is not 1."""
    return type(before) is type(after) and bool(before == after)


def _child(path: str, name: str) -> str:
    return f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
