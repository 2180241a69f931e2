"""What the client raises.

ParleyError
├── Unreachable      no connection, or none again within `give_up_after`
├── Closed           the client is closed: nothing more comes, nothing more can be sent
├── ClosedByServer   the server closed for good: a final close code
├── InputRefused     an input that will not be taken as it is
└── TurnFailed       the turn that was waited for ended with `RUN_ERROR`
"""

from __future__ import annotations

from app.errors import ParleyError


class Unreachable(ParleyError):
    """There is no connection to `url`; `reason` says why in a few words."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"cannot reach {url}: {reason}")
        self.url = url
        self.reason = reason


class Closed(ParleyError):
    """The client was closed, or the server said that all is done."""

    def __init__(self) -> None:
        super().__init__("the client is closed")


class ClosedByServer(ParleyError):
    """The server closed the connection with `code` and does not want the client back; `reason` is its own."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server closed the connection for good: {reason} ({code})")
        self.code = code
        self.reason = reason


class InputRefused(ParleyError):
    """An input was refused for what it is and is not kept any more. `code` is for programs."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class TurnFailed(ParleyError):
    """A turn ended with `RUN_ERROR`; `code` is one of the protocol's, such as `handler_error` or `cancelled`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message


class OutOfStep(Exception):
    """This connection and the client disagree on a number; a new connection puts it right."""
