"""A WebSocket client that knows docs/protocol.md and nothing else of this project.

It is the second implementation of the protocol: a mistake that server and Python client share shows here. All that it
receives, and all that it sent and the server took, must be as the published document says.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Self

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.support.document import assert_documented

Frame = dict[str, Any]

OUTWARD_BYTES = 524_288
"""The largest frame a server may send; a larger one closes the connection with 1009."""

MEMBERS: dict[str, set[str]] = {
    "welcome": {
        *("protocol", "session", "agent", "user", "worker", "resumed", "head", "acked", "known", "limits"),
    },
    "events": {"seq", "mark", "turn", "attempt", "events"},
    "ack": {"n", "duplicate", "queued"},
    "reset": {"reason", "head", "snapshot"},
    "error": {"code", "message", "fatal"},
    "pong": {"time"},
    "bye": {"reason", "reconnect", "after_ms"},
}
"""What each frame of a server must have, besides `type`."""


class Placed(NamedTuple):
    """One event and where it stands."""

    seq: int
    mark: str
    turn: str | None
    attempt: int
    event: dict[str, Any]


class WireClient:
    """One connection. `frames` holds every frame that came, `raw` the same as the text that was sent."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.frames: list[Frame] = []
        self.raw: list[str] = []
        self.welcome: Frame = {}
        self.n = 0
        self._sent: defaultdict[object, deque[Frame]] = defaultdict(deque)

    @classmethod
    async def connect(
        cls, url: str, *, headers: dict[str, str] | None = None, subprotocol: str | None = "parley.v1"
    ) -> Self:
        """Open a connection; it has said nothing yet. Raises: what `websockets` raises."""
        socket = await connect(
            url,
            additional_headers=headers,
            subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
            compression=None,
            proxy=None,
            ping_interval=None,
            max_size=OUTWARD_BYTES,
        )
        return cls(socket)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def hello(self, **members: object) -> Frame:
        """Say hello, under a client name of its own if none is given, and return the `welcome`."""
        await self.send("hello", **({"client": secrets.token_hex(8)} | members))
        self.welcome = (await self.collect(is_a("welcome")))[-1]
        assert self.welcome["protocol"] == 1, self.welcome
        self.n = self.welcome["acked"]
        return self.welcome

    async def send(self, kind: str, **members: object) -> None:
        frame = {"type": kind} | members
        self._sent[frame.get("n", kind)].append(frame)
        await self.send_text(json.dumps(frame))

    async def send_text(self, text: str | bytes) -> None:
        """Send what may be no frame at all; bytes go as a binary message."""
        await self._socket.send(text)

    async def count(self, kind: str, **members: object) -> int:
        """Send a durable frame under this client's next number, which is returned."""
        self.n += 1
        await self.send(kind, n=self.n, **members)
        return self.n

    async def receive(self, within: float = 10.0) -> Frame:
        """The next frame. Fails if none comes within that many seconds. Raises: ConnectionClosed."""
        async with asyncio.timeout(within):
            text = await self._socket.recv()
        assert isinstance(text, str), f"a binary message: {text!r}"
        frame = json.loads(text)
        assert isinstance(frame, dict), f"not an object: {text}"
        kind = frame.get("type")
        assert kind in MEMBERS, f"unknown frame: {text}"
        assert not (missing := MEMBERS[kind] - frame.keys()), f"without {missing}: {text}"
        assert_documented("toClient", frame)
        self._note_answer(frame)
        self.frames.append(frame)
        self.raw.append(text)
        return frame

    def _note_answer(self, frame: Frame) -> None:
        """What the server took must be in the document. Answers to one number come in the order of its frames."""
        kind = frame["type"]
        sent = self._sent.get({"welcome": "hello", "pong": "ping"}.get(kind, frame.get("n")))
        if sent and kind in {"welcome", "pong", "ack", "error"}:
            asked = sent.popleft()
            if kind != "error":
                assert_documented("fromClient", asked)

    async def collect(self, until: Callable[[Frame], bool], within: float = 10.0) -> list[Frame]:
        """The frames from the next one to the first for which `until` holds, which must come in time."""
        first = len(self.frames)
        try:
            async with asyncio.timeout(within):
                while not until(await self.receive(within)):
                    pass
        except TimeoutError:
            raise AssertionError(f"not within {within:g} s after {self.frames[first:]}") from None
        except ConnectionClosed as closed:
            raise AssertionError(f"closed with {closed.rcvd} after {self.frames[first:]}") from None
        return self.frames[first:]

    async def closed(self, within: float = 10.0) -> tuple[int, str]:
        """Read on until the server closes; its code and reason, 1006 if it just went."""
        async with asyncio.timeout(within):
            while True:
                try:
                    await self.receive(within)
                except ConnectionClosed as closed:
                    return (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else (1006, "")

    async def close(self) -> None:
        """Leave with a closing handshake."""
        await self._socket.close()

    async def drop(self) -> None:
        """Be gone without a word, as a lost network."""
        self._socket.transport.abort()
        await self._socket.wait_closed()

    @property
    def since(self) -> Frame:
        """The position to go on from: that of the last event handled."""
        position = {"seq": 0, "mark": ""}
        for frame in self.frames:
            if frame["type"] == "events":
                position = {"seq": frame["seq"] + len(frame["events"]) - 1, "mark": frame["mark"]}
            elif frame["type"] == "reset":
                position = frame["head"]
        return position

    @property
    def raw_events(self) -> list[str]:
        """The `events` frames, as the very text that came."""
        return [text for text, frame in zip(self.raw, self.frames, strict=True) if frame["type"] == "events"]


def is_a(kind: str, **members: object) -> Callable[[Frame], bool]:
    """A condition for `collect`: a frame of this type with these members."""
    return lambda frame: frame["type"] == kind and members.items() <= frame.items()


def ends(turn: str | None = None) -> Callable[[Frame], bool]:
    """A condition for `collect`: a frame that ends this turn, or any."""
    return lambda frame: (
        frame["type"] == "events"
        and turn in {None, frame["turn"]}
        and any(event["type"] in {"RUN_FINISHED", "RUN_ERROR"} for event in frame["events"])
    )


def placed(frames: Iterable[Frame]) -> Iterator[Placed]:
    """All events, one by one, with their positions."""
    for frame in frames:
        if frame["type"] == "events":
            for offset, event in enumerate(frame["events"]):
                yield Placed(frame["seq"] + offset, frame["mark"], frame["turn"], frame["attempt"], event)


def assert_gapless(frames: Iterable[Frame], after: int = 0) -> int:
    """Every event comes once and in order, the first right behind `after`; a `reset` moves on to its head.

    Returns the position of the last.
    """
    for frame in frames:
        if frame["type"] == "reset":
            after = frame["head"]["seq"]
        elif frame["type"] == "events":
            assert frame["seq"] == after + 1, f"{after + 1} should come, not: {frame}"
            assert frame["events"], f"no event in: {frame}"
            after += len(frame["events"])
    return after


def assert_turns_end_once(frames: Iterable[Frame]) -> None:
    """Each turn that started in these frames ended once, with its texts ended before and nothing after."""
    running: set[str | None] = set()
    over: set[str | None] = set()
    texts: dict[str, str | None] = {}
    for seq, _, turn, _, event in placed(frames):
        assert turn is None or turn not in over, f"{turn} is over, and at {seq} comes: {event}"
        match event["type"]:
            case "RUN_STARTED":
                running.add(turn)
            case "RUN_FINISHED" | "RUN_ERROR":
                assert turn not in texts.values(), f"{turn} ends at {seq} with open texts: {texts}"
                over.add(turn)
            case "TEXT_MESSAGE_START":
                texts[event["messageId"]] = turn
            case "TEXT_MESSAGE_END":
                del texts[event["messageId"]]
    assert running <= over, f"not ended: {running - over}"


def transcript(frames: Iterable[Frame]) -> list[tuple[str, str]]:
    """Role and text of the messages that a user sees in the end."""
    shown: dict[str, tuple[str, str]] = {}
    for frame in frames:
        if frame["type"] == "reset":
            messages = frame["snapshot"]["messages"]
            shown = {message["id"]: (message["role"], message["content"]) for message in messages}
        for _, _, _, _, event in placed([frame]):
            _show(shown, event)
    return list(shown.values())


def _show(shown: dict[str, tuple[str, str]], event: dict[str, Any]) -> None:
    match event:
        case {"type": "TEXT_MESSAGE_START", "messageId": message, "role": role}:
            shown[message] = (role, "")
        case {"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": delta}:
            role, text = shown[message]
            shown[message] = (role, text + delta)
        case {"name": "parley.message_updated", "value": {"messageId": message, "content": content}}:
            shown[message] = (shown[message][0], content)
        case {"name": "parley.message_removed", "value": {"messageId": message}}:
            shown.pop(message, None)
        case {"name": "parley.superseded", "value": {"messages": messages}}:
            for message in messages:
                shown.pop(message, None)
