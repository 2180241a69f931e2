"""The conversation so far, in the shape language models take it."""

from __future__ import annotations

from typing import Any

from app.executor import run_sync
from app.runtime import context

MOST = 200
"""Messages it holds, the newest."""


class ChatContext:
    """The conversation of the current turn's session, rebuilt from the store, the user's last words included.

    At most the last 200 messages, of which older ones may be missing if they are long. Raises: OutsideTurn.
    """

    async def load(self) -> list[dict[str, Any]]:
        """The messages as AG-UI messages, oldest first."""
        fold = await context.turn().history()
        messages: list[dict[str, Any]] = fold.snapshot()["messages"]
        return messages

    def get(self) -> list[dict[str, Any]]:
        """The same from a handler's synchronous code."""
        return run_sync(self.load())

    def to_openai(self) -> list[dict[str, str]]:
        """What user and assistant said, as `{"role", "content"}`."""
        return [
            {"role": message["role"], "content": message["content"]}
            for message in self.get()
            if message["role"] in {"user", "assistant", "system"} and isinstance(message.get("content"), str)
        ]


chat_context = ChatContext()
