"""One accepted socket: a reader that only enqueues, a taker of what it read, and a parting word."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from app import logs
from app.errors import SessionEnded
from app.gateway import greeting, presence
from app.gateway.closing import Closing
from app.gateway.follow import Follower
from app.gateway.intake import Intake
from app.gateway.limits import Bucket
from app.gateway.outbox import Message, Outbox, Send
from app.gateway.site import Site
from app.gateway.wall import now
from app.metrics import CLOSES, FRAMES_IN
from app.protocol.close import CloseCode
from app.sockets import Lane

log = logs.get(__name__)

Receive = Callable[[], Awaitable[Message]]

QUEUE_FRAMES = 64
"""Frames that were read and not taken. With as many the reader stands still, and TCP slows the client down."""

QUEUE_LARGEST = 4
"""How many frames of the largest size may wait."""

BURST_SECONDS = 10.0
"""The time over which the rate of frames is averaged: a client that was quiet may send as much at once."""

LONGEST_TIMER = 86_400.0
"""Seconds after which a token's expiry is looked at again, however far off it is."""

_OURS = frozenset(CloseCode)


class Connection:
    """A client's socket, from its acceptance to its end. An idle one has no task but the one that runs it.

    Three things go on at once: the task of `run` reads, so that it hears of the end, and begins to take what it read;
    where that has to wait, for the store, its answer goes on with it, and with all that is read meanwhile, in order;
    the outbox writes. Where the server has a lane, what comes while nothing is being taken is not read but heard, at
    once. Whoever finds that the connection has to end calls `close`, and `run` does the rest.
    """

    __slots__ = (
        "_authorization", "_closing", "_expires", "_follower", "_intake", "_lane", "_loop", "_outbox", "_presence",
        "_queue", "_queued_bytes", "_rate", "_reader", "_receive", "_room", "_send", "_session", "_site", "_taking",
        "_timer", "number",
    )  # fmt: skip

    def __init__(
        self,
        site: Site,
        number: int,
        authorization: str | None,
        receive: Receive,
        send: Send,
        lane: Lane | None = None,
    ) -> None:
        self.number = number
        self._lane = lane
        self._site = site
        self._authorization = authorization
        self._receive = receive
        self._send = send
        self._outbox = Outbox(send, site.settings.outbox_bytes, site.settings.send_timeout, self._outbox_failed, lane)
        self._loop = loop = asyncio.get_running_loop()
        rate = site.settings.max_frames_per_second
        self._rate = Bucket(rate * BURST_SECONDS, rate, loop.time())
        self._timer = loop.call_later(site.settings.hello_timeout, self._no_hello)
        # what is waited for before the next message is taken, and what was read meanwhile
        self._taking: asyncio.Future[Any] | None = None
        self._queue: deque[str | bytes] | None = None
        self._queued_bytes = 0
        self._room: asyncio.Future[None] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._closing: Closing | None = None
        self._session = ""
        self._follower: Follower | None = None
        self._intake: Intake | None = None
        self._presence: presence.Presence | None = None
        self._expires: float | None = None

    async def run(self) -> None:
        """Serve the socket until either side ends it. To be awaited once."""
        code: int | None = None
        try:
            if self._closing is None:
                if self._lane is not None:
                    self._lane.hear = self.hear
                code = await self._read_to_the_end()
            if self._closing is not None:
                code = self._closing.code
                await self._part(self._closing)
        finally:
            if self._lane is not None:
                self._lane.hear = None
            self._outbox.close()
            # It is not cancelled: a call that takes a session's lease for this worker has to hear the answer.
            # After the client has left it also takes the last that was read: a message and a closed tab.
            while self._taking is not None:
                await asyncio.wait({self._taking})
            self._timer.cancel()
            self._stop_following()
            CLOSES.labels(code if code in _OURS else "client").inc()
            log.info("connection_closed", connection=self.number, session=self._session, code=code and int(code))
            if self._presence is not None:
                await self._presence.left()

    def close(self, closing: Closing) -> None:
        """Have the connection end, soon; the first to say so is heard."""
        if self._closing is not None:
            return
        self._closing = closing
        if self._queue is not None:
            self._queue.clear()
        if self._follower is not None:
            self._follower.cancel()
        if self._reader is not None:
            self._reader.cancel()

    @property
    def session(self) -> str:
        """The session it is attached to, empty before it is."""
        return self._session

    @property
    def is_closing(self) -> bool:
        """Whether it has been told to end."""
        return self._closing is not None

    def look(self) -> None:
        """See in the log whether an event was missed."""
        if self._follower is not None:
            self._follower.look()

    # ---- reading

    async def _read_to_the_end(self) -> int | None:
        """Read until there is nothing more to read or the connection is closing; the client's close code."""
        self._reader = asyncio.current_task()
        try:
            return await self._read()
        except asyncio.CancelledError:
            if self._closing is None or self._reader is None:
                raise
            self._reader.uncancel()
        except Closing as closing:
            self._reader = None  # it is not to be interrupted
            self.close(closing)
        finally:
            self._reader = None
        return None

    async def _read(self) -> int | None:
        while self._closing is None:
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                return message.get("code")
            text = message.get("text")
            self._take_in(message["bytes"] if text is None else text)
            while self._is_full():
                self._room = self._loop.create_future()
                await self._room
        await asyncio.sleep(0)  # what was taken here closed the connection, and here this task hears of it
        return None

    def hear(self, text: str) -> bool:
        """Take a message past the reader if none before it is being taken; answers whether it was."""
        if self._taking is not None or self._closing is not None:
            return False
        try:
            self._take_in(text)
        except Closing as closing:
            self.close(closing)
        return True

    def _take_in(self, raw: str | bytes) -> None:
        """Count a message and take it, or keep it until those before it are taken. Raises: Closing."""
        FRAMES_IN.inc()
        if not self._rate.take(self._loop.time()):
            raise Closing.bye(CloseCode.TOO_MANY_FRAMES, "too_many_frames", int(BURST_SECONDS * 1000))
        if self._taking is None:
            try:
                self._take(raw)
            except Exception as error:  # whatever it is, this connection ends with it and no other
                raise Closing.because(error) from error
        else:
            if self._queue is None:
                self._queue = deque()
            self._queued_bytes += len(raw)
            self._queue.append(raw)

    def _is_full(self) -> bool:
        if self._queue is None:
            return False
        most = QUEUE_LARGEST * self._site.settings.max_frame_bytes
        return len(self._queue) >= QUEUE_FRAMES or self._queued_bytes > most

    # ---- taking what was read

    def _take(self, raw: str | bytes) -> None:
        """Take a message, or begin to where that has to wait. Raises: what the connection has to end for."""
        if self._intake is None:
            self._taking = asyncio.Task(self._greet(raw), loop=self._loop)
            self._taking.add_done_callback(self._greeted)
        elif (answer := self._intake.take(raw)) is not None:
            self._taking = answer
            answer.add_done_callback(self._answered)

    def _greeted(self, greeting: asyncio.Future[None]) -> None:
        self._go_on(greeting.result)

    def _answered(self, answer: asyncio.Future[Any]) -> None:
        assert self._intake is not None  # noqa: S101  # it has asked
        self._go_on(partial(self._intake.answered, answer))

    def _go_on(self, end: Callable[[], None]) -> None:
        """End what was waited for, and take what was read meanwhile, until one has to wait again."""
        self._taking = None
        try:
            end()
            while self._queue and self._taking is None:
                raw = self._queue.popleft()
                self._queued_bytes -= len(raw)
                if self._room is not None and not self._room.done():
                    self._room.set_result(None)
                self._take(raw)
        except asyncio.CancelledError:  # the loop ends
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, this connection ends with it and no other
            self.close(Closing.because(error))
        if not self._queue:
            self._queue = None
            self._queued_bytes = 0

    async def _greet(self, raw: str | bytes) -> None:
        hello = greeting.first(raw)
        self._timer.cancel()
        identity = self._site.authenticator.identify(self._authorization, hello.token)
        self._authorization = None
        store = self._site.store
        self._session = hello.session or await greeting.new_session(self._site, hello, identity.user)
        self._follower = Follower(store, self._site.folds, self._session, self._outbox, self._stop, self._check)
        store.listen(self._session, self._follower)
        since = greeting.position_of(hello)
        attachment = await store.attach(self._session, identity.user, hello.client, since)
        greeting.check_agent(self._site, hello, attachment)
        self._expires = identity.expires
        self._watch_expiry()
        self._outbox.put(greeting.welcome(self._site, hello, attachment))
        self._follower.start(since, attachment.page)
        put, put_soon = self._outbox.put, self._outbox.put_soon
        self._intake = Intake(self._site, self._session, hello.client, attachment.acked, put, put_soon)
        log.info("connection_attached", connection=self.number, session=self._session, user=identity.user)
        self._presence = presence.of(self._site, attachment, hello.client)
        if self._presence is not None:
            await self._presence.came()

    async def _check(self) -> None:
        if self._intake is not None:
            await self._intake.check()

    # ---- ending

    async def _part(self, closing: Closing) -> None:
        """Write what waits, the last frame and the close; a client that does not read gets none of it."""
        if closing.code is None:
            return
        self._outbox.end(closing.frame)
        close = {"type": "websocket.close", "code": int(closing.code), "reason": closing.code.reason}
        try:
            async with asyncio.timeout(self._site.settings.send_timeout):
                await self._outbox.drained()
                # uvicorn waits here for as long as the transport is full
                await self._send(close)
        except (OSError, RuntimeError):  # TimeoutError is one: it is gone, closed by uvicorn, or not reading
            pass

    def _stop_following(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            self._site.store.unlisten(self._session, self._follower)

    def _stop(self, error: Exception) -> None:
        self.close(Closing.ended() if isinstance(error, SessionEnded) else Closing.because(error))

    def _outbox_failed(self, code: CloseCode | None) -> None:
        self.close(Closing(code))

    def _no_hello(self) -> None:
        seconds = self._site.settings.hello_timeout
        self.close(Closing.error(CloseCode.SILENT, "no_hello", f"no hello within {seconds:g} s"))

    def _watch_expiry(self) -> None:
        if self._expires is None:
            return
        left = self._expires - now()
        if left <= 0:
            self.close(Closing.error(CloseCode.NOT_AUTHENTICATED, "token_expired", "the token has expired"))
        else:
            self._timer = self._loop.call_later(min(left, LONGEST_TIMER), self._watch_expiry)
