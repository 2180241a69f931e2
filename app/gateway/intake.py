"""What a client sends after its hello: inputs go to the store and are acknowledged, bad frames are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from app.errors import ProtocolError, StoreFull, StoreUnavailable
from app.gateway.closing import Closing
from app.gateway.limits import Bucket
from app.gateway.site import Site
from app.gateway.wall import now
from app.metrics import FRAMES_REFUSED
from app.protocol import codec
from app.protocol.close import CloseCode
from app.protocol.frames import ErrorFrame
from app.protocol.inputs import CONTROL_KINDS, CancelInput, ClientFrame, Durable, Hello, Ping
from app.store.base import Accepted, NewInput, Refused
from app.tokens import new_token

Put = Callable[[bytes], None]

MALFORMED_PER_MINUTE = 10
"""Bad frames a client may send a minute before it is taken for hostile."""

RETRY_AFTER_MS = 1_000
"""How long a client should wait with an input that was refused because something is full."""

FULL = {
    "size": "{0.inbox_size} inputs are waiting, as many as are allowed (PARLEY_INBOX_SIZE)",
    "bytes": "the inputs that wait have {0.inbox_bytes} bytes with this one (PARLEY_INBOX_BYTES)",
    "controls": "32 cancels, answers and ends are waiting, as many as are allowed",
}
"""What is said of each bound of an inbox, to be formatted with the settings."""


def decode(raw: str | bytes) -> ClientFrame:
    """The frame in a message. Raises: ProtocolError."""
    if isinstance(raw, bytes):
        raise ProtocolError("bad_frame", "a binary message: frames are text messages")
    return codec.decode(raw)


class Intake:
    """Takes the frames of one client, one after the other. `acked` is its last kept number.

    `put` sends a frame back, `put_soon` one that may wait a moment.
    """

    __slots__ = (
        "_acked", "_client", "_malformed", "_offered", "_put", "_put_soon", "_refused", "_resting", "_session", "_site",
    )  # fmt: skip

    def __init__(self, site: Site, session: str, client: str, acked: int, put: Put, put_soon: Put) -> None:
        self._site = site
        self._session = session
        self._client = client
        self._acked = acked
        self._put = put
        self._put_soon = put_soon
        self._malformed: Bucket | None = None
        self._offered = 0
        # the counters that were refused and did not come again, of which the first is the one that must
        self._refused = range(0)
        self._resting = 0.0

    def take(self, raw: str | bytes) -> asyncio.Future[Accepted | Refused] | None:
        """Do what a message asks for. What is answered, if it is done, is for `answered`; until then take no other.

        Raises: Closing if the connection has to end for it.
        """
        try:
            frame = decode(raw)
        except ProtocolError as error:
            self._refuse_malformed(error)
            return None
        if isinstance(frame, Ping):
            self._put(codec.encode_pong(frame.t, int(now() * 1000)))
        elif isinstance(frame, Hello):
            self._refuse_malformed(ProtocolError("bad_frame", "hello: was said already"))
        else:
            return self._offer(_new_input(frame))
        return None

    def answered(self, answer: asyncio.Future[Accepted | Refused]) -> None:
        """Tell the client what became of the input that was taken last.

        Raises: Closing if the connection has to end for it; NoSuchSession, SessionEnded.
        """
        n = self._offered
        try:
            kept = answer.result()
        except StoreFull as error:
            self._refuse_for_now(n, str(error))
        except StoreUnavailable as error:
            # What waits behind this input must not wait as long again, one after the other: the reader would
            # stand still meanwhile, and with it the pongs that keep the connection.
            self._resting = asyncio.get_running_loop().time() + RETRY_AFTER_MS / 1000
            self._refuse_for_now(n, str(error))
        else:
            if isinstance(kept, Accepted):
                self._acknowledge(n, kept)
            else:
                self._explain(n, kept)

    async def check(self) -> None:
        """See whether the store still has what was acknowledged: who is not told waits for an answer in vain.

        Raises: Closing if a tail was lost; StoreUnavailable.
        """
        acked = self._acked
        if await self._site.store.acked(self._session, self._client) < acked:
            message = f"the store has lost inputs up to {acked}"
            raise Closing.error(CloseCode.COUNTER_SKIPPED, "counter_skipped", message)

    # ---- inputs

    def _offer(self, new: NewInput) -> asyncio.Future[Accepted | Refused] | None:
        if reason := self._unwanted(new):
            self._refuse(new.n, *reason)
        elif self._resting and asyncio.get_running_loop().time() < self._resting:
            self._refuse_for_now(new.n, "the store does not answer")
        else:
            self._offered = new.n
            return self._site.store.accept(self._session, self._client, new)
        return None

    def _unwanted(self, new: NewInput) -> tuple[str, str] | None:
        """Code and message for an input that this server never takes."""
        if new.kind not in self._site.kinds:
            return "unsupported", f"{new.kind}: this server does not take such inputs"
        most = self._site.settings.inbox_bytes
        if len(new.body) > most:
            return "too_large", f"{new.kind}: {len(new.body)} bytes, an inbox has {most} (PARLEY_INBOX_BYTES)"
        return None

    def _acknowledge(self, n: int, kept: Accepted) -> None:
        if self._refused:
            self._refused = range(max(self._refused.start, n + 1), self._refused.stop)
        self._acked = max(self._acked, n)
        ack = codec.encode_ack(n, queued=kept.queued, duplicate=kept.duplicate, index=kept.index, turn=kept.turn)
        # only the answer to what nothing waits before may come at once
        put = self._put if kept.queued or kept.turn is None else self._put_soon
        put(ack)

    # ---- refusals

    def _explain(self, n: int, refused: Refused) -> None:
        if refused.reason == "conflict":
            self._say(n, "conflict", f"n {n} was accepted with another body")
        elif refused.reason == "busy":
            self._refuse_for_now(n, FULL[refused.limit].format(self._site.settings))
        elif refused.expected in self._refused:
            self._refuse(n, "out_of_order", f"n {refused.expected} was refused and has to come first")
        else:
            message = f"n is {n}, and {refused.expected} was due"
            raise Closing.error(CloseCode.COUNTER_SKIPPED, "counter_skipped", message, n)

    def _refuse_malformed(self, error: ProtocolError) -> None:
        time = asyncio.get_running_loop().time()
        if self._malformed is None:
            self._malformed = Bucket(MALFORMED_PER_MINUTE, MALFORMED_PER_MINUTE / 60, time)
        if not self._malformed.take(time):
            raise Closing.because(error)
        self._refuse(error.n, error.code, error.message)

    def _refuse_for_now(self, n: int, message: str) -> None:
        if self._refused and n > self._refused.start:
            self._refuse(n, "out_of_order", f"n {self._refused.start} was refused and has to come first")
        else:
            self._refuse(n, "busy", message, RETRY_AFTER_MS)

    def _refuse(self, n: int | None, code: str, message: str, retry_after_ms: int | None = None) -> None:
        """Refuse a frame, whose counter is then not used."""
        if n is not None:
            known = self._refused or range(n, n)
            self._refused = range(min(known.start, n), max(known.stop, n + 1))
        self._say(n, code, message, retry_after_ms)

    def _say(self, n: int | None, code: str, message: str, retry_after_ms: int | None = None) -> None:
        FRAMES_REFUSED.labels(code).inc()
        frame = ErrorFrame(code=code, message=message, n=n, retry_after_ms=retry_after_ms, fatal=False)
        self._put(codec.encode(frame))


def _new_input(frame: Durable) -> NewInput:
    body = codec.body_of(frame)
    turn = "" if frame.type in CONTROL_KINDS else new_token()
    target = frame.turn or "" if isinstance(frame, CancelInput) else ""
    return NewInput(frame.n, frame.type, body, codec.checksum(body), turn, target)
