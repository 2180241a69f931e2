"""The chat in a terminal: `parley chat`."""

from __future__ import annotations

from app.terminal.conversation import chat

__all__ = ["chat"]
