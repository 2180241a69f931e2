"""The Python client: connects, resumes, and sends again what a server may have lost."""

from __future__ import annotations

from app.client.buffer import Event, Item, ResetEvent
from app.client.errors import Closed, ClosedByServer, InputRefused, TurnFailed, Unreachable
from app.client.inputs import Sent
from app.client.session import Client, connect

__all__ = [
    "Client",
    "Closed",
    "ClosedByServer",
    "Event",
    "InputRefused",
    "Item",
    "ResetEvent",
    "Sent",
    "TurnFailed",
    "Unreachable",
    "connect",
]
