"""The text of a turn's answer, put together from its events."""

from __future__ import annotations

from app.client.buffer import Item, ResetEvent
from app.client.errors import TurnFailed
from app.protocol.frames import Snapshot


class Answer:
    """The messages a turn has shown and not taken back. `question` is the id of the user's message."""

    def __init__(self, question: str | None) -> None:
        self._question = question
        self._texts: dict[str, list[str]] = {}
        self._failure: TurnFailed | None = TurnFailed("passed_over", "the end of the turn was passed over")

    def take(self, item: Item) -> None:
        """Follow one item of the turn."""
        if isinstance(item, ResetEvent):
            self._texts = self._found_in(item.snapshot)
            self._failure = None
            return
        match item.event:
            case {"type": "TEXT_MESSAGE_START", "messageId": id_, "role": role} if role != "user":
                self._texts[id_] = []
            case {"type": "TEXT_MESSAGE_CONTENT", "messageId": id_, "delta": delta} if id_ in self._texts:
                self._texts[id_].append(delta)
            case {"name": "parley.message_updated", "value": {"messageId": id_, "content": text}} if id_ in self._texts:
                self._texts[id_] = [text]
            case {"name": "parley.message_removed", "value": {"messageId": id_}}:
                self._texts.pop(id_, None)
            case {"name": "parley.superseded", "value": {"messages": ids}}:
                for id_ in ids:
                    self._texts.pop(id_, None)
            case {"type": "RUN_FINISHED"}:
                self._failure = None
            case {"type": "RUN_ERROR"} as error:
                self._failure = TurnFailed(error.get("code", "unknown"), error.get("message", ""))

    def text(self) -> str:
        """All of it, each message from a line of its own. Raises: TurnFailed."""
        if self._failure is not None:
            raise self._failure
        return "\n".join("".join(deltas) for deltas in self._texts.values())

    def _found_in(self, snapshot: Snapshot) -> dict[str, list[str]]:
        """What follows the question in a snapshot, up to the next user message."""
        texts: dict[str, list[str]] = {}
        follows = False
        for message in snapshot.messages:
            if message["role"] == "user":
                follows = message["id"] == self._question
            elif follows and message["role"] == "assistant":
                texts[message["id"]] = [message.get("content") or ""]
        return texts
