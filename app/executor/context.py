"""Carrying back what was changed in a copy of a context."""

from __future__ import annotations

from contextvars import Context

_MISSING = object()


def adopt(changed: Context, before: Context) -> None:
    """Set in the current context what differs between a context and the copy of it that was made before."""
    for variable, value in changed.items():
        if before.get(variable, _MISSING) is not value:
            variable.set(value)
