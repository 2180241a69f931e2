"""Toasts: short notices that pass."""

from __future__ import annotations

from typing import Literal, get_args

from app.protocol import events
from app.runtime import context

ToastType = Literal["info", "success", "warning", "error"]
"""How a toast looks."""
MAX_TOAST = 1000
"""Characters of a toast."""


async def toast(message: str, type: ToastType = "info") -> None:  # noqa: A002  # the name authors know
    """Show a notice that passes and is no part of the conversation.

    Raises: OutsideTurn; ValueError if it is over 1,000 characters or of another type.
    """
    if type not in get_args(ToastType):
        raise ValueError(f"a toast's type is one of {', '.join(get_args(ToastType))}, not {type!r}")
    if len(message) > MAX_TOAST:
        raise ValueError(f"a toast has {len(message)} characters, at most {MAX_TOAST}: send a message instead")
    await context.turn().emit([events.toast(message, type)])
