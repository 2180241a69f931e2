"""What is said in a session by code outside its turns: a task that outlives its turn, an author's own scheduler."""

from __future__ import annotations

import secrets
from typing import Any, Protocol

from app.errors import InboxFull, OutsideTurn
from app.protocol import codec
from app.protocol.pushes import Push
from app.store.base import NewInput, Pushed, Refused


class Pusher(Protocol):
    """The part of the store that takes what is said from outside."""

    async def push(self, session: str, user: str | None, new: NewInput, key: str | None = None) -> Pushed | Refused:
        """Keep an input from outside every connection; see `Gateway.push`."""


class _Home:
    """The store of this process's worker, if one serves."""

    pusher: Pusher | None = None


def serve(pusher: Pusher | None) -> None:
    """From now on send through this store; None ends it."""
    _Home.pusher = pusher


async def push(
    session: str,
    content: str,
    *,
    author: str | None = None,
    metadata: dict[str, Any] | None = None,
    message_id: str = "",
) -> str:
    """Say something in a session, in whatever it is doing; the id of the message. Returns once the store has it.

    Raises: OutsideTurn if no worker serves in this process; NoSuchSession, SessionEnded; InboxFull;
    StoreFull, StoreUnavailable; ValueError if the author is too long or the metadata is too large.
    """
    if _Home.pusher is None:
        raise OutsideTurn("no worker serves in this process: a message can be sent in a server's worker only")
    message_id = message_id or secrets.token_urlsafe(12)
    said = Push(content=content, author=author, metadata=metadata or None)
    said.events(message_id)  # what cannot be shown is to be refused here, and not by the session's owner
    body = codec.body_of(said)
    new = NewInput(0, "push", body, codec.checksum(body), "", message_id)
    answer = await _Home.pusher.push(session, None, new)
    if isinstance(answer, Refused):
        raise InboxFull("too many inputs of this session wait: try again later")
    return answer.id
