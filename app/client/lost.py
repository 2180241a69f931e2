"""Why a connection was lost or never came, in words, and whether to try again."""

from __future__ import annotations

import errno
import os
import re
import socket
from http import HTTPStatus

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.frames import Close

from app.client.address import PATIENCE
from app.protocol.close import CloseCode
from app.protocol.frames import Bye, ErrorFrame

Parting = Bye | ErrorFrame | None
"""What a server said last before it closed a connection, if it said anything."""

LOST = 1006
"""The code of a connection that nobody closed (RFC 6455, section 7.1.5)."""

CODES = {int(code): code for code in CloseCode}


def code_of(lost: Exception) -> int:
    """The close code, whichever side closed."""
    close = (lost.rcvd or lost.sent) if isinstance(lost, ConnectionClosed) else None
    return close.code if close else LOST


def reason_of(lost: Exception, parting: Parting) -> str:
    """The server's own words for why it closed, or else the protocol's."""
    if isinstance(parting, ErrorFrame):
        return f"{parting.code}: {parting.message}"
    if isinstance(parting, Bye):
        return parting.reason
    close = (lost.rcvd or lost.sent) if isinstance(lost, ConnectionClosed) else None
    return _meaning(close) if close else in_words(lost)


def wants_back(lost: Exception, parting: Parting) -> bool | None:
    """Whether the server wants the client to come back by itself; None if it did not say."""
    if isinstance(parting, Bye):
        return parting.reconnect
    code = CODES.get(code_of(lost))
    return code.reconnect if code else None


def seconds_asked(parting: Parting) -> float:
    """How long the server wants the client to stay away."""
    asked = parting.after_ms if isinstance(parting, Bye) else parting.retry_after_ms if parting else None
    return (asked or 0) / 1_000


def final(lost: Exception) -> bool:
    """Whether the next attempt would end the same way: the server is there and refuses to open a WebSocket."""
    if not isinstance(lost, InvalidStatus):
        return False
    status = lost.response.status_code
    refuses = HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return refuses and status != HTTPStatus.TOO_MANY_REQUESTS


def in_words(lost: Exception) -> str:
    """What happened, in a few words and on one line."""
    match lost:
        case ConnectionClosed():
            close = lost.rcvd or lost.sent
            return f"{_meaning(close)} ({close.code})" if close else "connection lost"
        case InvalidStatus():
            return f"it answered HTTP {lost.response.status_code} instead of opening a WebSocket"
        case InvalidHandshake():
            return "it does not speak WebSocket"
        case TimeoutError():
            return f"no answer within {PATIENCE:.0f} seconds"
        case socket.gaierror():
            return "no such host"
    number = _errno(lost)
    return os.strerror(number).lower() if number else " ".join(str(lost).split()) or type(lost).__name__


def _meaning(close: Close) -> str:
    code = CODES.get(close.code)
    return close.reason or (code.reason if code else "connection closed")


def _errno(error: Exception) -> int | None:
    """The system's error number; that of an attempt at several addresses stands in its text only."""
    if isinstance(error, OSError) and error.errno in errno.errorcode:
        return error.errno
    found = re.search(r"\[Errno (\d+)\]", str(error))
    return int(found.group(1)) if found else None
