"""python-socketio as its documentation has it: in memory, an event in and an event out."""

from __future__ import annotations

import asyncio

import socketio

from bench.peers.serving import serve

sio = socketio.AsyncServer(async_mode="asgi")


@sio.on("say")
async def say(sid: str, text: str) -> None:
    """Say it back, or stream tokens."""
    if text.startswith("stream"):
        for _ in range(500):
            await sio.emit("token", " token", to=sid)
            await asyncio.sleep(0)
    await sio.emit("reply", text, to=sid)


if __name__ == "__main__":
    serve(socketio.ASGIApp(sio))
