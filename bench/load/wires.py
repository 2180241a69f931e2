"""How each peer is spoken to."""

from __future__ import annotations

import asyncio
import secrets
import time
import uuid
from typing import Any

import orjson

from bench.load.clients import TOKEN, TOKENS, Client, Meter


class Floor(Client):
    """A bare WebSocket: a message each way, and one for each token."""

    def say(self, text: str) -> None:
        """The text and nothing else."""
        self._left = TOKENS if text.startswith("stream") else 0
        self.send(text.encode())

    def read(self, _: bytes) -> None:
        """A token, or the echo."""
        if not self._left:
            self.over()
            return
        self.token(1)
        self._left -= 1
        if not self._left:
            self.over()


class SocketIo(Client):
    """Socket.IO 5 over Engine.IO 4, on a WebSocket from the start."""

    PATH = "/socket.io/?EIO=4&transport=websocket"
    AUTH = b""

    def greet(self) -> None:
        """The peer begins."""

    def connected(self) -> None:
        """The namespace is joined."""
        self.welcome()

    def say(self, text: str) -> None:
        """An event with the text."""
        self.send(b"42" + orjson.dumps(["say", text]))

    def event(self, payload: bytes) -> None:
        """Take in an event."""
        if payload.startswith(b'42["token"'):
            self.token(1)
        elif payload.startswith(b'42["reply"'):
            self.over()

    def read(self, payload: bytes) -> None:
        """Engine.IO's types first: 0 open, 2 ping, 4 message; then Socket.IO's: 0 connect, 2 event."""
        if payload.startswith(b"42"):
            self.event(payload)
        elif payload.startswith(b"0"):
            self.send(b"40" + self.AUTH)
        elif payload.startswith(b"40"):
            self.connected()
        elif payload == b"2":
            self.send(b"3")
        elif payload.startswith(b"44"):
            self.lost(payload.decode())


class Chainlit(SocketIo):
    """Chainlit's events. A turn is over with the answer, not with `task_end`, which comes after it."""

    PATH = "/ws/socket.io/?EIO=4&transport=websocket"

    @property
    def AUTH(self) -> bytes:  # noqa: N802  # the name of what it stands for
        """Who is there."""
        return orjson.dumps({"sessionId": str(uuid.uuid4()), "clientType": "webapp", "userEnv": "{}"})

    def connected(self) -> None:
        """As its page says when it is connected."""
        self.send(b'42["connection_successful"]')

    def say(self, text: str) -> None:
        """A message as its page sends one."""
        message = {
            "id": str(uuid.uuid4()),
            "threadId": "",
            "name": "User",
            "type": "user_message",
            "output": text,
            "createdAt": "2026-01-01T00:00:00.000Z",
        }
        self.send(b"42" + orjson.dumps(["client_message", {"message": message, "fileReferences": []}]))

    def event(self, payload: bytes) -> None:
        """The answer comes as `new_message`, also at the end of a streamed one; `stream_start` has its first token."""
        if payload.startswith((b'42["stream_token"', b'42["stream_start"')):
            self.token(1)
        elif payload.startswith(b'42["new_message"') and b'"assistant_message"' in payload:
            self.over()
        elif payload.startswith(b'42["clear_call_fn"'):
            self.welcome()


class Parley(Client):
    """Parley's frames. A turn is over with its last event; the acknowledgement and all other events come before it."""

    PATH = "/ws"

    def __init__(self, number: int, meter: Meter) -> None:
        super().__init__(number, meter)
        self.session: str | None = None
        self.taken_over: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._client = secrets.token_hex(8)
        self._n = 0
        self._last: bytes = b""
        self._since: dict[str, Any] | None = None
        self._missing: int | None = None

    def greet(self) -> None:
        """Make a session, or come back to it."""
        hello = {"type": "hello", "client": self._client, "session": self.session, "since": self._since}
        self.send(orjson.dumps({name: value for name, value in hello.items() if value is not None}))

    def say(self, text: str) -> None:
        """A message under the next number."""
        self._n += 1
        self.send(b'{"type":"message","n":%d,"content":"%s"}' % (self._n, text.encode()))

    def read(self, payload: bytes) -> None:
        """Count tokens, and see the end of turns; events are not parsed, as with the other peers."""
        if payload.startswith(b'{"type":"events"'):
            self._last = payload
            if self._missing is not None:
                self._caught_up(payload)
            elif count := payload.count(TOKEN):
                self.token(count)
            if b'"RUN_FINISHED"' in payload:
                self.over()
            elif b'"attempt":2' in payload and not self.taken_over.done():
                self.taken_over.set_result(time.monotonic())
        elif not payload.startswith(b'{"type":"ack"'):
            self._other(orjson.loads(payload))

    def remember(self) -> None:
        """Remember the place in the conversation."""
        self._since = _end(self._last)

    def _caught_up(self, payload: bytes) -> None:
        if _end(payload)["seq"] >= self._missing:
            self._missing = None
            self.welcome()

    def _other(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "welcome":
            self.session = frame["session"]
            if self._since is not None and frame["head"]["seq"] > self._since["seq"]:
                self._missing = frame["head"]["seq"]
            else:
                self.welcome()
        elif frame["type"] in {"error", "bye"}:
            self.lost(str(frame))


def _end(payload: bytes) -> dict[str, Any]:
    frame = orjson.loads(payload)
    return {"seq": frame["seq"] + len(frame["events"]) - 1, "mark": frame["mark"]}


WIRES = {"floor": Floor, "socketio": SocketIo, "chainlit": Chainlit, "parley": Parley}
