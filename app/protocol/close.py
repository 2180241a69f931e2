"""Close codes: the number, why a socket is closed, and whether its client may come back by itself."""

from __future__ import annotations

from enum import IntEnum
from typing import Self


class CloseCode(IntEnum):
    """Why a socket was closed: an int, with its reason and what the client should do."""

    reason: str
    """What is sent with the code; at most 123 bytes (RFC 6455, section 5.5)."""
    reconnect: bool
    """Whether the client should connect again without asking anybody; otherwise the code is final."""

    def __new__(cls, number: int, reason: str = "", reconnect: bool = False) -> Self:  # noqa: FBT001, FBT002
        """One row of the table. The defaults are for type checkers, to whom `CloseCode(1000)` comes here too."""
        code = int.__new__(cls, number)
        code._value_ = number
        code.reason = reason
        code.reconnect = reconnect
        return code

    DONE = 1000, "done", False
    FRAME_TOO_BIG = 1009, "frame too big", False
    GOING_AWAY = 1012, "worker is going away", True
    BUSY = 1013, "server too busy", True
    BAD_FRAME = 4400, "not a valid frame, or first frame no hello", False
    NOT_AUTHENTICATED = 4401, "not authenticated, or token expired", False
    FORBIDDEN = 4403, "not your session, origin or host refused", False
    NOT_FOUND = 4404, "no such session or agent", False
    SILENT = 4408, "no hello in time, or silent for too long", True
    COUNTER_SKIPPED = 4409, "input counter skipped", True
    SESSION_ENDED = 4410, "session ended", False
    TOO_MANY_FRAMES = 4429, "too many frames", True
    READS_TOO_SLOWLY = 4431, "reads too slowly", True
    SERVER_FAULT = 4500, "server fault", True
