"""What a client sends after its hello: inputs go to the store and are acknowledged, bad frames are refused."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import assert_never

from app import logs
from app.errors import ProtocolError, StoreFull, StoreUnavailable
from app.gateway.closing import Closing
from app.gateway.limits import Bucket
from app.gateway.site import Site
from app.gateway.wall import now
from app.protocol import codec
from app.protocol.close import CloseCode
from app.protocol.frames import ErrorFrame
from app.protocol.inputs import CONTROL_KINDS, CancelInput, Durable, Hello, Ping
from app.store.base import Accepted, NewInput, Refused

log = logs.get(__name__)

MALFORMED_PER_MINUTE = 10
"""Bad frames a client may send a minute before it is taken for hostile."""

RETRY_AFTER_MS = 1_000
"""How long a client should wait with an input that was refused because something is full."""

_FULL = {
    "size": "{0.inbox_size} inputs wait (PARLEY_INBOX_SIZE)",
    "bytes": "the inputs that wait have {0.inbox_bytes} bytes (PARLEY_INBOX_BYTES)",
    "controls": "32 cancels, answers and ends wait",
}


class Intake:
    """Takes the frames of one client, in order. `put` sends a frame back."""

    __slots__ = ("_client", "_malformed", "_put", "_refused", "_resting", "_session", "_site")

    def __init__(self, site: Site, session: str, client: str, put: Callable[[bytes], None]) -> None:
        self._site = site
        self._session = session
        self._client = client
        self._put = put
        self._malformed: Bucket | None = None
        self._refused: range | None = None
        """The counters that were refused and have not come again, from the lowest to behind the highest."""
        self._resting = 0.0

    async def take(self, raw: str | bytes) -> None:
        """Do what a message asks for. Raises: Closing if the connection has to end; NoSuchSession; SessionEnded."""
        try:
            frame = decode(raw)
        except ProtocolError as error:
            self._count_malformed(error)
            self._refuse(error.n, error.code, error.message)
            return
        match frame:
            case Ping():
                self._put(codec.encode_pong(frame.t, int(now() * 1000)))
            case Hello():
                self._refuse(None, "bad_frame", "hello: was said already")
            case _:
                await self._keep(frame)

    async def _keep(self, frame: Durable) -> None:
        if frame.type not in self._site.kinds:
            return self._refuse(frame.n, "unsupported", f"{frame.type}: this server does not take it")
        if asyncio.get_running_loop().time() < self._resting:
            return self._refuse_waiting(frame.n, "the store does not answer")
        new = _new_input(frame)
        if len(new.body) > self._site.settings.inbox_bytes:
            most = self._site.settings.inbox_bytes
            return self._refuse(frame.n, "too_large", f"{len(new.body)} bytes, an inbox has {most} (PARLEY_INBOX_BYTES)")
        try:
            answer = await self._site.store.accept(self._session, self._client, new)
        except (StoreFull, StoreUnavailable) as error:
            # What waits behind it need not wait for the store as long again: the reader would stand still, and
            # the client's pongs with it.
            self._resting = asyncio.get_running_loop().time() + RETRY_AFTER_MS / 1000
            return self._refuse_waiting(frame.n, str(error))
        if isinstance(answer, Accepted):
            return self._acknowledge(frame.n, answer)
        return self._explain(frame.n, answer)
