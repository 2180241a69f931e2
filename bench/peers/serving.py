"""Serves an ASGI application as app/server.py does, on uvicorn's own WebSocket protocol."""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

from app.server import _spare_the_loop
from app.settings import Settings


def serve(app: Any) -> None:
    """Serve on the port of the first argument until the process is ended."""
    settings = Settings()
    config = uvicorn.Config(
        app,
        port=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="websockets-sansio",
        ws_max_size=settings.max_frame_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=settings.idle_timeout / 2,
        ws_ping_timeout=settings.idle_timeout / 2,
        log_config=None,
        access_log=False,
        server_header=False,
        lifespan="off",
        backlog=4096,
    )
    _spare_the_loop()
    uvicorn.Server(config).run()
