"""Where the server is: addresses as people write them, and a socket to there."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.typing import Subprotocol

from app.errors import ConfigError

SUBPROTOCOL = Subprotocol("parley.v1")

PATIENCE = 10.0
"""Seconds to wait for a connection, and again for its `welcome`."""

MAX_FRAME_BYTES = 1024 * 1024
"""The largest frame that is read: twice what the protocol allows a server."""

CLOSE_PATIENCE = 1.0
"""Seconds to wait for the other side's goodbye."""

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


def endpoint(url: str) -> str:
    """The WebSocket endpoint of the server at `url`. Raises: ConfigError."""
    refusal = ConfigError(f"the address {url!r} is not http(s)://host[:port][/base] or ws(s)://…")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise refusal from None
    if not usable:
        raise refusal
    path = parts.path.rstrip("/")
    if not path.endswith("/ws"):
        path += "/ws"
    return urlunsplit((SCHEMES[parts.scheme], parts.netloc, path, "", ""))


async def open_socket(address: str) -> ClientConnection:
    """A fresh connection to an endpoint. Raises: OSError, WebSocketException."""
    return await open_websocket(
        address,
        subprotocols=[SUBPROTOCOL],
        compression=None,
        # a proxy that is set for the outside world does not know this machine's own servers
        proxy=None if urlsplit(address).hostname in LOOPBACK else True,
        open_timeout=PATIENCE,
        close_timeout=CLOSE_PATIENCE,
        max_size=MAX_FRAME_BYTES,
    )
