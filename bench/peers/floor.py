"""The floor: a bare WebSocket echo, the least that any server on this uvicorn can do for a round trip or a token."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from bench.peers.serving import serve

Message = MutableMapping[str, Any]


async def app(
    _: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """One connection."""
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        text = message["text"]
        if not text.startswith("stream"):
            await send({"type": "websocket.send", "text": text})
            continue
        for _ in range(500):
            await send({"type": "websocket.send", "text": " token"})
            await asyncio.sleep(0)


if __name__ == "__main__":
    serve(app)
