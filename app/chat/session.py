"""A session from outside its turns: an author's own scheduler, a task that outlived its turn."""

from __future__ import annotations

from typing import Any

from app.runtime import outside


class SessionHandle:
    """A session of this server, whoever owns it and whatever it is doing."""

    def __init__(self, session_id: str) -> None:
        self.id = session_id

    async def send(self, content: str, author: str | None = None, *, metadata: dict[str, Any] | None = None) -> str:
        """Show a message to the session's clients at once; the message's id. Returns once the store has it.

        Raises: NoSuchSession, SessionEnded; InboxFull; StoreFull, StoreUnavailable; OutsideTurn if no worker serves
        in this process; ValueError if something is too long.
        """
        shown = {"parley": metadata} if metadata else None
        return await outside.push(self.id, content, author=author, metadata=shown)


def session(session_id: str) -> SessionHandle:
    """The session of this id; whether there is one is seen when something is sent to it."""
    return SessionHandle(session_id)
