"""The link to a session: one connection after the other, with what must outlive each of them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import random
from collections import deque
from collections.abc import Callable, Iterator

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from app.client.address import PATIENCE, endpoint, open_socket
from app.client.buffer import Buffer, Item
from app.client.errors import Closed, ClosedByServer, OutOfStep, Unreachable
from app.client.inputs import Inputs, Sent
from app.client.lost import Parting, code_of, final, in_words, reason_of, seconds_asked, wants_back
from app.errors import ProtocolError
from app.protocol.close import CloseCode
from app.protocol.codec import decode_server, encode
from app.protocol.frames import START, Ack, Bye, ErrorFrame, Events, Pong, Reset, ServerFrame, Welcome
from app.protocol.inputs import Hello, Ping

FIRST_DELAY = 0.1
"""Seconds before the first reconnect; every connection more that brings nothing doubles it."""

MAX_DELAY = 5.0
"""Seconds between two attempts at most, unless the server asks for more; and how long a connection must hold
to count as a good one."""

LOSSES = (OSError, WebSocketException, OutOfStep, ProtocolError)
"""What ends one connection and not the link."""

TERMINAL = frozenset({"RUN_FINISHED", "RUN_ERROR"})
"""The types of the events that end a turn."""

logger = logging.getLogger(__name__)


def backoff() -> Iterator[float]:
    """Seconds to wait before one attempt after the other, spread so that clients do not come back all at once."""
    delay = FIRST_DELAY
    while True:
        yield delay * random.uniform(0.5, 1)  # noqa: S311 - not for secrets
        delay = min(2 * delay, MAX_DELAY)


class Link:
    """Reads into a buffer, writes what is kept, and connects again until it is closed or told to stay away.

    One task does all of it. `on_state` is called with None when a connection is welcomed, and with the reason
    in a few words when it is lost.
    """

    def __init__(
        self,
        url: str,
        hello: Hello,
        *,
        give_up_after: float | None,
        on_state: Callable[[str | None], None] | None,
    ) -> None:
        self.welcome: Welcome | None = None
        self.buffer = Buffer(hello.since or START)
        self.inputs = Inputs()
        self._url = url
        self._address = endpoint(url)
        self._hello = hello
        self._give_up_after = give_up_after
        self._on_state = on_state or (lambda _: None)
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._to_write = asyncio.Event()
        self._being_read = False
        # callers that wait for the server's next word: while there are any, a full buffer does not stop reading
        self._listening = 0
        self._pings: dict[int, bool] = {}
        self._pings_to_send: deque[int] = deque()
        self._ping_ids = itertools.count(1)
        # of the present connection: what the server said last before it closes, and whether it brought anything
        self._parting: Parting = None
        self._progress = False

    async def start(self) -> None:
        """Connect and wait for the first welcome. Raises: Unreachable, ClosedByServer."""
        self._task = asyncio.create_task(self._stay_connected())
        self._task.add_done_callback(lambda _: self._wake())
        try:
            await self._until(lambda: self.welcome)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Hang up. Inputs that were not acknowledged may be lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def listen_until(self, done: Callable[[], object]) -> None:
        """Wait for something the server says; events there is no room for are read again later."""
        self._listening += 1
        self._wake()
        try:
            await self._until(done)
        finally:
            self._listening -= 1

    async def keep(self, sent: Sent) -> None:
        """Take an input in, once there is room. Raises: Closed, or what ended the connection."""
        self._check()
        await self.listen_until(lambda: not self.inputs.full())
        self.inputs.keep(sent)
        self._to_write.set()

    async def ping(self) -> None:
        """Wait for the server's answer to a ping, over as many connections as it takes."""
        self._check()
        ping = next(self._ping_ids)
        self._pings[ping] = False
        self._pings_to_send.append(ping)
        self._to_write.set()
        try:
            await self.listen_until(lambda: self._pings[ping])
        finally:
            del self._pings[ping]

    async def next(self) -> Item:
        """The next item of the log. Raises: Closed, or what ended the connection, once all is handed out."""
        if self._being_read:
            raise RuntimeError("the events are being read elsewhere: each is handed out once, so read in one place")
        self._being_read = True
        try:
            await self._until(lambda: len(self.buffer))
        finally:
            self._being_read = False
        item = self.buffer.pop()
        self._wake()
        if self.buffer.left_out:
            self._to_write.set()
        return item

    # ---- waiting

    def _wake(self) -> None:
        """Let everyone who waits look again."""
        self._changed.set()
        self._changed.clear()

    async def _until(self, done: Callable[[], object]) -> None:
        while not done():
            self._check()
            await self._changed.wait()

    def _check(self) -> None:
        if self._task is None or self._task.cancelled():
            raise Closed
        if self._task.done():
            raise self._task.exception() or Closed()

    # ---- one connection after the other

    async def _stay_connected(self) -> None:
        """Return when the server is done with us. Raises: Unreachable, ClosedByServer."""
        now = asyncio.get_running_loop().time
        good_until, pauses = now(), backoff()
        while True:
            begun = now()
            lost = await self._connect_once()
            if self._is_over(lost):
                return
            if self._progress or now() - begun > MAX_DELAY:
                good_until, pauses = now(), backoff()
            pause = seconds_asked(self._parting) + next(pauses)
            if self._give_up_after is not None and now() + pause > good_until + self._give_up_after:
                raise Unreachable(self._url, f"{in_words(lost)}, given up after {self._give_up_after:g} seconds")
            self._on_state(in_words(lost))
            await asyncio.sleep(pause)

    async def _connect_once(self) -> Exception:
        """Make a connection and use it until it is lost; why it was."""
        self._parting, self._progress = None, False
        try:
            socket = await open_socket(self._address)
            async with socket:
                async with asyncio.timeout(PATIENCE):
                    await self._greet(socket)
                return await self._use(socket)
        except LOSSES as error:
            return error

    async def _greet(self, socket: ClientConnection) -> None:
        position = self.buffer.position
        hello = self._hello.model_copy(update={"since": None if position == START else position})
        await socket.send(encode(hello), text=True)
        while not isinstance(frame := decode_server(await socket.recv(decode=False)), Welcome):
            self._take_notice(frame)
        self.welcome = frame
        # from now on it is this session, whichever agent was asked for
        self._hello = self._hello.model_copy(update={"session": frame.session, "agent": None})
        self.buffer.left_out = False
        self.inputs.welcomed(frame.acked, known=frame.known)
        self._pings_to_send = deque(ping for ping, answered in self._pings.items() if not answered)
        self._to_write.set()
        self._wake()
        self._on_state(None)

    async def _use(self, socket: ClientConnection) -> Exception:
        async with asyncio.TaskGroup() as group:
            writer = group.create_task(self._write(socket))
            lost = await self._read(socket)
            writer.cancel()
        return lost

    def _is_over(self, lost: Exception) -> bool:
        """Whether all is done. Raises: ClosedByServer, Unreachable if it is not and there is no way back."""
        code = code_of(lost)
        back = wants_back(lost, self._parting)
        if back or (code == CloseCode.DONE and self.buffer.left_out):
            return False
        if back is None:
            if self.welcome is None or final(lost):
                raise Unreachable(self._url, in_words(lost)) from lost
            return False
        if code == CloseCode.DONE or (code == CloseCode.SESSION_ENDED and self.inputs.said_end):
            return True
        raise ClosedByServer(code, reason_of(lost, self._parting)) from lost

    # ---- reading and writing

    async def _read(self, socket: ClientConnection) -> Exception:
        try:
            while True:
                raw = await socket.recv(decode=False)
                await self._take(decode_server(raw), len(raw))
                self._wake()
        except LOSSES as error:
            return error

    async def _take(self, frame: ServerFrame, size: int) -> None:
        match frame:
            case Events():
                await self._take_events(frame, size)
            case ErrorFrame(fatal=True):
                self._parting = frame
            case Reset():
                self.buffer.replace(frame, size)
                self.inputs.replaced(frame.snapshot, self.buffer.place(frame.head.seq))
                self._progress = True
            case Ack():
                self.inputs.acked(frame)
                self._progress = True
                self._to_write.set()
            case ErrorFrame(n=int() as n):
                self.inputs.refused(n, frame, asyncio.get_running_loop().time())
                self._to_write.set()
            case _:
                self._take_notice(frame)

    def _take_notice(self, frame: ServerFrame) -> None:
        match frame:
            case Pong(t=int() as ping):
                # whoever waited for it may have stopped
                if ping in self._pings:
                    self._pings[ping] = True
            case Bye() | ErrorFrame(fatal=True):
                self._parting = frame
            case ErrorFrame():
                logger.warning("the server did not take a frame: %s: %s", frame.code, frame.message)
            case _:
                raise OutOfStep(f"{frame.type!r} was not expected now")

    async def _take_events(self, frame: Events, size: int) -> None:
        news = self.buffer.news(frame)
        if not news:
            return
        self._progress = True
        if frame.turn is not None and any(event.get("type") in TERMINAL for event in news):
            self.inputs.ended(frame.turn, self.buffer.place(frame.seq + len(frame.events) - 1))
        if not self.buffer.left_out:
            await self._until(lambda: self._listening or not self.buffer.full())
            if self.buffer.full():
                self.buffer.left_out = True
            else:
                self.buffer.take(frame, size)

    async def _write(self, socket: ClientConnection) -> None:
        now = asyncio.get_running_loop().time
        # a closed connection is the reader's to report: it may have more to read
        with contextlib.suppress(ConnectionClosed):
            while True:
                self._to_write.clear()
                while self._pings_to_send:
                    await socket.send(encode(Ping(t=self._pings_to_send.popleft())), text=True)
                while sent := self.inputs.take(now()):
                    await socket.send(sent.frame(), text=True)
                if self.buffer.left_out and self.buffer.roomy():
                    await socket.close()
                    return
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(self.inputs.retry_at()):
                        await self._to_write.wait()
