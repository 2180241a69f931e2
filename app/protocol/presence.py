"""What the gateway itself tells a session's owner: a connection has come, or has gone. No client can send it."""

from __future__ import annotations

from typing import Literal

from app.protocol.inputs import Client, Counted, Name


class Connected(Counted):
    """A client is attached to the session. Its `n` is always 0."""

    type: Literal["connect"] = "connect"
    id: Name
    """The connection's own: no other has it, and its `Disconnected` has the same."""
    client: Client


class Disconnected(Counted):
    """A client is not attached any more. Its `n` is always 0."""

    type: Literal["disconnect"] = "disconnect"
    id: Name
    client: Client


Presence = Connected | Disconnected
"""Either."""
