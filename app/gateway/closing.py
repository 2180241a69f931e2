"""How a connection is closed by the server: the code, and the last frame that says why."""

from __future__ import annotations

import secrets
from typing import Self

from app import logs
from app.errors import (
    NoSuchSession,
    NotYours,
    ParleyError,
    ProtocolError,
    SessionEnded,
    StoreFull,
    StoreUnavailable,
    TooManySessions,
)
from app.gateway.auth import AuthError
from app.protocol import codec
from app.protocol.close import CloseCode
from app.protocol.frames import Bye, ErrorFrame

log = logs.get(__name__)

BUSY_AFTER_MS = 2_000
"""How long a client that came to a busy server should stay away."""

_REASONS: dict[type[ParleyError], tuple[CloseCode, str, str]] = {
    AuthError: (CloseCode.NOT_AUTHENTICATED, "not_authenticated", ""),
    NotYours: (CloseCode.FORBIDDEN, "not_yours", "the session is another user's"),
    TooManySessions: (CloseCode.FORBIDDEN, "too_many_sessions", ""),
    NoSuchSession: (CloseCode.NOT_FOUND, "no_such_session", "there is no such session, or not any more"),
    SessionEnded: (CloseCode.SESSION_ENDED, "session_ended", "the session has ended"),
}
"""Errors that close a connection: with which code, under which name, in which words if not in their own."""


class Closing(ParleyError):
    """The connection is to be closed with `code` after `frame`, if there is one; without a code, silently."""

    def __init__(self, code: CloseCode | None, frame: bytes | None = None) -> None:
        super().__init__(code.reason if code else "gone")
        self.code = code
        self.frame = frame

    @classmethod
    def error(cls, code: CloseCode, name: str, message: str, n: int | None = None) -> Self:
        """Something is refused for good."""
        return cls(code, codec.encode(ErrorFrame(code=name, message=message, n=n, fatal=True)))

    @classmethod
    def bye(cls, code: CloseCode, reason: str, after_ms: int = 0) -> Self:
        """Nothing is wrong with the client; it may come back after so many milliseconds if the code lets it."""
        return cls(code, codec.encode(Bye(reason=reason, reconnect=code.reconnect, after_ms=after_ms)))

    @classmethod
    def ended(cls) -> Self:
        """The session ended while the client was there."""
        return cls.bye(CloseCode.SESSION_ENDED, "ended")

    @classmethod
    def because(cls, error: Exception) -> Self:
        """What an exception means for the connection it was raised for."""
        if isinstance(error, Closing):
            return cls(error.code, error.frame)
        if isinstance(error, ProtocolError):
            return cls.error(CloseCode.BAD_FRAME, error.code, error.message, error.n)
        if isinstance(error, StoreUnavailable | StoreFull):
            return cls.bye(CloseCode.BUSY, "busy", BUSY_AFTER_MS)
        for kind, (code, name, message) in _REASONS.items():
            if isinstance(error, kind):
                return cls.error(code, name, message or str(error))
        return cls._fault(error)

    @classmethod
    def _fault(cls, error: Exception) -> Self:
        reference = secrets.token_hex(4)
        log.error("gateway_fault", reference=reference, exc_info=error)
        message = f"the server failed; reference {reference}"
        return cls.error(CloseCode.SERVER_FAULT, "server_fault", message)
