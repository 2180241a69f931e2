"""Joins the concurrent script calls of a worker into pipelines on one connection, which it keeps up.

Every script is made so that the same call again is the same change, so a call whose reply was lost is sent
again as it was. The client library's own retries are off: they would know nothing of that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from app import logs
from app.errors import StoreUnavailable
from app.store.link import LOADING_SCRIPT, REPLY_TIMEOUT, Call, Link, PassingError, Script

log = logs.get(__name__)

Argument = str | bytes | int | float

MOST_CALLS = 64
"""Calls in one pipeline: enough to share its cost, few enough that what their replies set off is done soon."""

ENOUGH = 16
"""Calls that go at once, while those that make more of them are still at it: the store need not wait for the last."""

LOOK_EVERY = 0.5
"""Seconds between looks whether a reply is overdue."""

BACKOFF = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to reach the store."""


class Batcher:
    """Sends the calls that are waiting in one go, in order; the next ones while those are being answered."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._waiting: deque[Call] = deque()
        # those that the store did not know the script of, which go before all that wait
        self._forgotten: list[Call] = []
        self._link: Link | None = None
        self._stopped = False
        self._soon: asyncio.Handle | None = None
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Begin to send."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="store batcher")

    async def stop(self) -> None:
        """Stop at once. What waits, and what comes later, fails with StoreUnavailable."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.disconnect(nowait=True)
        self._stopped = True
        for call in (*self._forgotten, *self._waiting):
            _refuse(call)
        self._forgotten.clear()
        self._waiting.clear()

    def run(
        self,
        script: Script,
        keys: Sequence[str],
        args: Sequence[Argument],
        *,
        within: float | None = None,
        then: Callable[[Any], Any] | None = None,
    ) -> asyncio.Future[Any]:
        """Run a script. To await it raises: StoreFull, StoreError, StoreUnavailable, and what `then` raises.

        StoreUnavailable where the connection was lost and not had again `within` seconds after the call. `then` makes
        of the script's answer what is awaited, as soon as it is here, whether anybody still waits or not.
        """
        return self._call(("EVALSHA", script.sha, len(keys), *keys, *args), script, within, then)

    def command(self, *command: Argument, within: float | None = None) -> asyncio.Future[Any]:
        """Run one command that may safely be run twice. To await it raises as `run` does."""
        return self._call(command, None, within, None)

    def _call(
        self,
        command: tuple[Argument, ...],
        script: Script | None,
        within: float | None,
        then: Callable[[Any], Any] | None,
    ) -> asyncio.Future[Any]:
        deadline = float("inf") if within is None else self._loop.time() + within
        # packed here, so that what cannot be sent fails its own call and no other; by redis-py it takes 40 us more
        packed = pack_command(command)  # type: ignore[arg-type]  # its stub knows tuples of one only
        call = Call(
            script.name if script else str(command[0]), packed, script, deadline, self._loop.create_future(), then
        )
        if self._stopped:  # nobody would ever settle it
            _refuse(call)
            return call.reply
        self._waiting.append(call)
        if len(self._waiting) >= ENOUGH and self._link is not None and self._link.has_room:
            self._send()
        elif self._soon is None:
            self._soon = self._loop.call_soon(self._send)
        return call.reply

    def _send(self) -> None:
        """Send what waits, if there is room for it."""
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        link, waiting = self._link, self._waiting
        if self._forgotten:
            if link is not None and link.sent:  # what is under way may be forgotten too, and goes first
                return
            self._load_forgotten()
        while waiting and link is not None and link.has_room:
            link.send([waiting.popleft() for _ in range(min(len(waiting), MOST_CALLS))])

    def _load_forgotten(self) -> None:
        """Have the store load the scripts it did not have, and run what it could not, in its order."""
        calls = []
        for text in {call.script.text for call in self._forgotten if call.script}:
            load: tuple[Argument, ...] = (LOADING_SCRIPT, "LOAD", text)
            packed = pack_command(load)  # type: ignore[arg-type]  # its stub knows tuples of one only
            calls.append(Call(LOADING_SCRIPT, packed, None, float("inf"), self._loop.create_future()))
        self._waiting.extendleft(reversed(calls + self._forgotten))
        self._forgotten.clear()

    # ---- the connection

    async def _run(self) -> None:
        failures = 0
        while True:
            link = Link(self._loop, self._send, self._forgotten.append)
            try:
                await self._serve(link)
            except (RedisError, OSError, PassingError) as error:
                failures = 0 if link.answered else failures
                if failures == 0:
                    log.warning("store_unreachable", error=str(error), calls=len(link.sent))
            except Exception:  # whatever it is, the next calls are still to be made
                log.exception("store_exchange_failed")
            finally:
                self._link = None
                self._waiting.extendleft(call for call in reversed(link.sent) if not call.reply.done())
            failures += 1
            await self._connection.disconnect(nowait=True)
            await asyncio.sleep(BACKOFF[min(failures, len(BACKOFF)) - 1])
            self._give_up()

    async def _serve(self, link: Link) -> None:
        """Connect and send until the connection is lost. Raises: what it was lost with."""
        async with asyncio.timeout(REPLY_TIMEOUT):
            await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it so
        link.take_over(self._connection)
        self._link = link
        self._send()
        while not link.lost.done():
            await asyncio.wait({link.lost}, timeout=LOOK_EVERY)
            if link.is_silent:
                link.drop(TimeoutError(f"no reply for {REPLY_TIMEOUT:g} s"))
        raise link.lost.result()

    def _give_up(self) -> None:
        now = self._loop.time()
        for call in [call for call in self._waiting if call.deadline <= now]:
            self._waiting.remove(call)
            if not call.reply.done():
                call.reply.set_exception(StoreUnavailable("the store does not answer"))


def _refuse(call: Call) -> None:
    if not call.reply.done():
        call.reply.set_exception(StoreUnavailable("this worker is stopping"))
