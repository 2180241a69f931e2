"""What an HTTP request is told when it is refused: status, code, words, and when to come back."""

from __future__ import annotations

from fastapi.responses import JSONResponse
from pydantic import BaseModel

from app.errors import (
    NoSuchFile,
    NoSuchSession,
    NotYours,
    ParleyError,
    ProtocolError,
    SessionEnded,
    StoreFull,
    StoreUnavailable,
)
from app.gateway.auth import AuthError
from app.gateway.closing import BUSY_AFTER_MS

_REASONS: dict[type[ParleyError], tuple[int, str, str]] = {
    AuthError: (401, "not_authenticated", ""),
    NotYours: (403, "not_yours", "the session is another user's"),
    NoSuchFile: (404, "no_such_file", "the session has no such file"),
    NoSuchSession: (404, "no_such_session", "there is no such session, or not any more"),
    SessionEnded: (410, "session_ended", "the session has ended"),
}
"""Errors that refuse a request: with which status, under which name, in which words if not in their own."""


class Problem(BaseModel):
    """The body of a refusal."""

    code: str
    """For programs."""
    message: str
    """For people."""


class Refusal(ParleyError):
    """A request is refused with this status. `retry_after` is seconds, None if that would be of no use."""

    def __init__(self, status: int, code: str, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.problem = Problem(code=code, message=message)
        self.retry_after = retry_after

    @classmethod
    def because(cls, error: ParleyError) -> Refusal | None:
        """What an error means for the request it was raised for; None if it is no refusal but a fault."""
        if isinstance(error, Refusal):
            return error
        if isinstance(error, ProtocolError):
            return cls(400 if error.code == "bad_json" else 422, error.code, error.message)
        if isinstance(error, StoreUnavailable | StoreFull):
            return cls(503, "busy", str(error), BUSY_AFTER_MS // 1000)
        for kind, (status, code, message) in _REASONS.items():
            if isinstance(error, kind):
                return cls(status, code, message or str(error))
        return None

    def response(self) -> JSONResponse:
        """The answer to the request."""
        headers = {}
        if self.status == 401:  # noqa: PLR2004  # RFC 9110, section 15.5.2: it says how to sign in
            headers["WWW-Authenticate"] = "Bearer"
        if self.retry_after is not None:
            headers["Retry-After"] = str(self.retry_after)
        return JSONResponse(self.problem.model_dump(), self.status, headers)
