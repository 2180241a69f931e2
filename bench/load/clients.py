"""What a client is to the load generator, and what is noted of all of them together."""

from __future__ import annotations

import asyncio
from time import perf_counter

from picows import WSFrame, WSListener, WSMsgType, WSTransport

TOKEN = b" token"
"""What every peer streams, over and over."""

TOKENS = 500
"""How many of them an answer has."""


class Meter:
    """What all clients of a sample brought. Seconds."""

    def __init__(self) -> None:
        self.running = False
        self.firsts: list[float] = []
        self.latencies: list[float] = []
        self.ends: list[float] = []
        self.tokens = 0

    def restart(self) -> None:
        """Forget the warm-up. The times to a first token stay: at a slow peer no second one may come in time."""
        self.latencies = []
        self.ends = []
        self.tokens = 0


class Client(WSListener):  # type: ignore[misc]  # a class of Cython's
    """One connection. It speaks a peer's wire; `ready` is done once it may begin a turn.

    A wire says what to send (`greet`, `say`), and tells what came by `token` and `over`.
    """

    PATH = "/"

    def __init__(self, number: int, meter: Meter) -> None:
        self.number = number
        self.meter = meter
        self.text = ""
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.idle: asyncio.Future[None] | None = None
        self.transport: WSTransport = None
        self._begun = 0.0
        self._tokens = 0

    # ---- what a wire has of its own

    def greet(self) -> None:
        """Say what must be said first."""
        self.welcome()

    def say(self, text: str) -> None:
        """Send what begins a turn."""
        raise NotImplementedError

    def read(self, payload: bytes) -> None:
        """Take in what came."""
        raise NotImplementedError

    # ---- what it tells

    def welcome(self) -> None:
        """The peer is ready for a turn."""
        if not self.ready.done():
            self.ready.set_result(None)

    def token(self, count: int) -> None:
        """So many tokens came."""
        if not self._tokens:
            self.meter.firsts.append(perf_counter() - self._begun)
        self._tokens += count
        self.meter.tokens += count

    def over(self) -> None:
        """The turn is over; the next one begins if there is to be one."""
        meter = self.meter
        now = perf_counter()
        meter.ends.append(now)
        meter.latencies.append(now - self._begun)
        if meter.running:
            self.begin()
        elif self.idle is not None and not self.idle.done():
            self.idle.set_result(None)

    # ---- what the load generator asks of it

    def start(self, text: str) -> None:
        """Begin a turn, after which `idle` is done unless the next one began."""
        self.idle = asyncio.get_running_loop().create_future()
        self.text = text
        self.begin()

    async def turn(self, text: str) -> None:
        """Make one turn. Raises: ConnectionError."""
        self.start(text)
        assert self.idle is not None  # noqa: S101
        await self.idle

    def begin(self) -> None:
        """Begin a turn with what was said before."""
        self._tokens = 0
        self._begun = perf_counter()
        self.say(self.text)

    def remember(self) -> None:
        """Remember the place in the conversation, if the peer has such a thing."""

    def renew(self) -> None:
        """Be about to connect again."""
        self.ready = asyncio.get_running_loop().create_future()

    def cut(self) -> None:
        """Be gone without a word."""
        if self.transport is not None:
            self.transport.underlying_transport.abort()

    def send(self, payload: bytes) -> None:
        """Send one text message."""
        self.transport.send(WSMsgType.TEXT, payload)

    # ---- what picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        """Begin to talk."""
        self.transport = transport
        self.greet()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Hand on what came."""
        if frame.msg_type == WSMsgType.TEXT:
            self.read(frame.get_payload_as_bytes())
        elif frame.msg_type == WSMsgType.CLOSE:
            self.lost(f"closed with {frame.get_close_code()}: {frame.get_close_message()}")
            transport.disconnect()

    def on_ws_disconnected(self, _: WSTransport) -> None:
        """Nobody waits for what will not come."""
        self.lost("disconnected")

    def lost(self, reason: str) -> None:
        """End what waits for this connection."""
        for waited in (self.ready, self.idle):
            if waited is not None and not waited.done():
                waited.set_exception(ConnectionError(f"client {self.number}: {reason}"))
                waited.exception()  # it need not be waited for
