"""Tabs: clients that keep to docs/protocol.md, over whichever worker they happen to reach, and write all of it down."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from random import Random
from typing import Any, NamedTuple

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidMessage
from websockets.typing import Subprotocol

from tests.chaos.cluster import Node
from tests.chaos.journal import Closed, Connect, Frame, Received, Sent, Writer
from tests.chaos.row import Kept, Row
from tests.support.wire import OUTWARD_BYTES

OPEN_WITHIN = 2.0
"""Seconds a worker may take to let a tab in, and to welcome it."""

PING_AFTER = 1.0
"""Seconds without a frame after which a tab asks whether anybody is there …"""

SILENT_FOR = 2.5
"""… and after which it goes elsewhere."""

RETRY_AFTER_MS = 1_000
"""When a tab sends an input again that had to wait for another one."""

FINAL = frozenset({1000, 1009, 4400, 4401, 4403, 4404, 4410})
"""Close codes after which no client comes back by itself."""

PAUSES = (0.05, 0.1, 0.2, 0.4)
"""Seconds before the next connection, after so many that brought nothing; up to twice as long."""

GONE = (OSError, ConnectionClosed, InvalidHandshake, InvalidMessage, TimeoutError)
"""What a connection ends with."""


class Raw(NamedTuple):
    """A counted frame that no good client sends."""

    frame: Frame
    intent: str


class Conversation:
    """What the tabs of a session have in common: its name, once one of them knows it."""

    def __init__(self) -> None:
        self.session = ""
        self.begun = asyncio.Event()

    def begin(self, session: str) -> None:
        """The session has a name."""
        self.session = session
        self.begun.set()


class Tab:
    """One tab. `say` gives it an input; `asks` are the asks that are open for all it knows.

    It stops, with a word in `trouble`, at what no client can mend.
    """

    def __init__(
        self, name: str, conversation: Conversation, nodes: Sequence[Node], journal: Writer, rng: Random
    ) -> None:
        self.name = name
        self.conversation = conversation
        self.row = Row()
        self.asks: dict[str, Frame] = {}
        self.position: Frame = {"seq": 0, "mark": ""}
        self.trouble = ""
        self.deaf = 0.0
        self._nodes = nodes
        self._journal = journal
        self._rng = rng
        self._link = 0
        self._fruitless = 0
        self._after = 0.0
        self._socket: ClientConnection | None = None
        self._unsent: deque[Kept | Raw] = deque()
        self._to_send = asyncio.Event()
        self._refused = 0
        self._answers: deque[tuple[int, str]] = deque()
        self._heard = 0.0

    # ---- what a user does

    def say(self, **frame: Any) -> Kept:
        """Send an input, as soon as that is possible."""
        kept = self.row.add(frame)
        if self._socket is not None:
            self._put([kept])
        return kept

    def misbehave(self, frames: Iterable[Raw]) -> None:
        """Send what no good client sends; nothing if there is no connection."""
        if self._socket is not None:
            self._put(frames)

    def swap(self, first: Frame, second: Frame) -> None:
        """Say two things the wrong way round."""
        one, other = self.row.add(first), self.row.add(second)
        self.misbehave([Raw(other.numbered, "reorder"), Raw(one.numbered, "reorder")])

    def hang_up(self) -> None:
        """Be gone without a word."""
        if self._socket is not None:
            self._socket.transport.abort()

    def be_deaf(self, seconds: float) -> None:
        """Read nothing for so long."""
        self.deaf = seconds

    # ---- its life

    async def run(self) -> None:
        """Be connected, again and again, until cancelled or stopped by what no client can mend."""
        while not self.trouble:
            pause = PAUSES[min(self._fruitless, len(PAUSES) - 1)]
            await asyncio.sleep(self._after + pause * self._rng.uniform(1, 2))
            self._after = 0.0
            self._fruitless += 1
            await self._connect(self._rng.choice(self._nodes))

    async def _connect(self, node: Node) -> None:
        self._link += 1
        self._journal.write(Connect(**self._me, worker=node.number))
        try:
            socket = await connect(
                node.url,
                subprotocols=[Subprotocol("parley.v1")],
                compression=None,
                proxy=None,
                ping_interval=None,
                open_timeout=OPEN_WITHIN,
                close_timeout=1,
                max_size=OUTWARD_BYTES,
            )
        except GONE:
            self._journal.write(Closed(**self._me, code=1006, refused=True))
            return
        await self._serve(socket)

    async def _serve(self, socket: ClientConnection) -> None:
        code = 1006
        pump = asyncio.create_task(self._pump(socket))
        try:
            await self._talk(socket)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 1006
        except GONE:
            pass
        except asyncio.CancelledError:
            code = 1000
            raise
        finally:
            self._socket = None
            pump.cancel()
            self._journal.write(Closed(**self._me, code=code, ours=code == 1000))
            if code == 1000:
                with suppress(*GONE):
                    await socket.close()
            socket.transport.abort()
        if code in FINAL:
            self.trouble = f"closed with {code}"

    @property
    def _me(self) -> dict[str, Any]:
        return {"session": self.conversation.session, "tab": self.name, "link": self._link}

    # ---- talking

    async def _talk(self, socket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        hello: Frame = {"type": "hello", "client": self.name}
        if self.conversation.session:
            hello |= {"session": self.conversation.session, "since": self.position}
        await self._send(socket, hello)
        self._heard = loop.time()
        pinged = False
        while True:
            try:
                async with asyncio.timeout(PING_AFTER):
                    text = await socket.recv()
            except TimeoutError:
                if loop.time() - self._heard > SILENT_FOR:
                    raise
                if not pinged:
                    await socket.send('{"type": "ping"}')
                    pinged = True
                continue
            self._heard = loop.time()
            pinged = False
            self._take(socket, str(text))
            if self.deaf:
                await asyncio.sleep(self.deaf)
                self.deaf = 0.0
                self._heard = loop.time()

    def _take(self, socket: ClientConnection, text: str) -> None:
        frame: Frame = json.loads(text)
        if frame["type"] == "pong":
            return
        if frame["type"] == "welcome" and not self.conversation.session:
            self.conversation.begin(frame["session"])
        self._journal.write(Received(**self._me, text=text))
        match frame["type"]:
            case "welcome":
                self._welcome(socket, frame)
            case "events":
                self._events(socket, frame)
            case "ack":
                self._asked(frame["n"])
                self.row.acknowledged(frame["n"], frame.get("turn", ""))
            case "reset":
                self.row.reset(frame["snapshot"])
                self.position = frame["head"]
                self.asks = {thing["id"]: thing["value"] for thing in frame["snapshot"]["open"] if "value" in thing}
            case "error":
                self._error(frame)
            case "bye":
                self._after = frame["after_ms"] / 1000

    def _welcome(self, socket: ClientConnection, frame: Frame) -> None:
        self._fruitless = 0
        self._answers.clear()
        self._unsent.clear()
        self._refused = 0
        self._socket = socket
        self._put(self.row.welcomed(frame["acked"], known=frame["known"]))

    def _events(self, socket: ClientConnection, frame: Frame) -> None:
        seq = self.position["seq"]
        if frame["seq"] > seq + 1:  # a server's fault: connect again with the last position
            socket.transport.abort()
            return
        new = frame["events"][seq + 1 - frame["seq"] :]
        if not new:
            return
        self.position = {"seq": seq + len(new), "mark": frame["mark"]}
        for event in new:
            self._event(frame["turn"], event)

    def _event(self, turn: str, event: Frame) -> None:
        match event:
            case {"type": "RUN_FINISHED" | "RUN_ERROR"}:
                self.row.ended(turn)
            case {"type": "TEXT_MESSAGE_START", "role": "user", "messageId": message}:
                self.row.echoed(message, turn)
            case {"name": "parley.ask", "value": ask}:
                self.asks[ask["id"]] = ask
            case {"name": "parley.ask_resolved", "value": ask}:
                self.asks.pop(ask["id"], None)

    def _error(self, frame: Frame) -> None:
        if "n" not in frame or frame["fatal"]:
            return
        n, intent = frame["n"], self._asked(frame["n"])
        if intent not in {"", "reorder"}:
            return
        match frame["code"]:
            case "busy" | "out_of_order":
                self._send_again(n, frame.get("retry_after_ms", RETRY_AFTER_MS) / 1000)
            case "conflict":
                self._put(self.row.conflicted(n))
            case code:
                self.trouble = f"{n} was refused with {code}"

    def _asked(self, n: int) -> str:
        """The intent of the frame that is answered: answers come in the order of what was sent."""
        asked, intent = self._answers.popleft() if self._answers else (0, "")
        if asked != n:
            self.trouble = f"{n} was answered where {asked} was due"
        return intent

    # ---- sending, in order

    def _send_again(self, n: int, seconds: float) -> None:
        """Send an input that was refused for now, and all behind it, once in so many seconds; till then nothing."""
        if self._refused:
            self._refused = min(self._refused, n)
        else:
            self._refused = n
            asyncio.get_running_loop().call_later(seconds, self._again, self._link)

    def _again(self, link: int) -> None:
        if link == self._link and self._refused:
            self._unsent = deque(self.row.refused(self._refused))
            self._refused = 0
            self._put(())

    def _put(self, frames: Iterable[Kept | Raw]) -> None:
        self._unsent.extend(frames)
        self._to_send.set()

    async def _pump(self, socket: ClientConnection) -> None:
        with suppress(*GONE):
            while True:
                await self._to_send.wait()
                self._to_send.clear()
                while self._unsent and self._socket is socket and not self._refused:
                    each = self._unsent.popleft()
                    frame, intent = each if isinstance(each, Raw) else (each.numbered, "")
                    self._answers.append((frame["n"], intent))
                    await self._send(socket, frame, intent)

    async def _send(self, socket: ClientConnection, frame: Frame, intent: str = "") -> None:
        self._journal.write(Sent(**self._me, frame=frame, intent=intent))
        await socket.send(json.dumps(frame))
