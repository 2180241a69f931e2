"""The conversation so far, in the shape language models take it."""

from __future__ import annotations

from typing import Any

from app.executor import run_sync
from app.protocol.events import parley_of
from app.runtime import context

SPEAKERS = frozenset({"user", "assistant", "system"})
"""Whose messages a language model is given."""


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
        """What user and assistant said, as `{"role", "content"}`, without empty messages and those of ErrorMessage.

        Errors are the agent's words to the user: a model would take them for its own.
        """
        return [
            {"role": message["role"], "content": message["content"]}
            for message in self.get()
            if message["role"] in SPEAKERS and message.get("content") and not _is_error(message)
        ]


def _is_error(message: dict[str, Any]) -> bool:
    return message["role"] == "assistant" and parley_of(message.get("metadata")).get("error") is True


chat_context = ChatContext()
