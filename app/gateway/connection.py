"""One accepted socket: a reader that only enqueues, what it read taken in order, and a parting word."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from app import logs
from app.errors import ParleyError
from app.gateway import greeting
from app.gateway.closing import Closing
from app.gateway.follow import Follower
from app.gateway.intake import Intake, decode
from app.gateway.limits import Bucket
from app.gateway.outbox import Message, Outbox, Send
from app.gateway.site import Site
from app.gateway.wall import now
from app.protocol.close import CloseCode

log = logs.get(__name__)

Receive = Callable[[], Awaitable[Message]]

QUEUE_FRAMES = 64
"""Frames that were read and wait to be taken; with as many the reader stands still, and TCP slows the client."""

QUEUE_LARGEST = 4
"""How many frames of the largest size may wait."""

BURST_SECONDS = 10.0
"""The time over which the rate of frames is averaged: a client that was quiet may send as much at once."""

LONGEST_TIMER = 86_400.0
"""Seconds after which a token's expiry is looked at again, however far off it is."""
