"""Joins the concurrent script calls of a worker into one pipeline on one connection.

Every script is made so that the same call again is the same change, so a call whose reply was lost is sent
again as it was. The client library's own retries are off: they would know nothing of that.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    ClusterDownError,
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from app import logs
from app.errors import StoreError, StoreFull, StoreUnavailable
from app.metrics import STORE_CALLS, STORE_PIPELINES

log = logs.get(__name__)

Argument = str | bytes | int | float

MOST_CALLS = 64
"""Calls in one pipeline: enough to share its cost, few enough that what their replies set off is done soon."""

REPLY_TIMEOUT = 5.0
"""Seconds without a reply after which the connection is taken for dead."""

BACKOFF = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Seconds between attempts to reach the store."""

PASSING = (ReadOnlyError, MasterDownError, ClusterDownError, TryAgainError)
"""What a store answers while it fails over: nothing ran."""


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script under its digest."""

    name: str
    text: str
    sha: str


def load_scripts(names: Sequence[str]) -> dict[str, Script]:
    """The scripts of these names, each with the shared part behind its first line."""
    folder = files("app.store") / "scripts"
    shared = (folder / "lib.lua").read_text()
    scripts = {}
    for name in names:
        first, _, rest = (folder / f"{name}.lua").read_text().partition("\n")
        text = f"{first}\n{shared}\n{rest}"
        scripts[name] = Script(name, text, sha1(text.encode(), usedforsecurity=False).hexdigest())
    return scripts


@dataclass(slots=True, eq=False)
class _Call:
    name: str
    packed: bytes
    script: Script | None
    deadline: float
    reply: asyncio.Future[Any]


class Batcher:
    """Sends the calls that are waiting in one go, in order, and no others until their replies are in."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._waiting: deque[_Call] = deque()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Begin to send."""
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._run(), name="store batcher")

    async def stop(self) -> None:
        """Stop at once. What waits fails with StoreUnavailable."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._connection.disconnect(nowait=True)
        for call in self._waiting:
            if not call.reply.done():
                call.reply.set_exception(StoreUnavailable("this worker is stopping"))
        self._waiting.clear()

    def run(
        self, script: Script, keys: Sequence[str], args: Sequence[Argument], *, within: float | None = None
    ) -> asyncio.Future[Any]:
        """Run a script. To await it raises: StoreUnavailable after `within` seconds, StoreFull, StoreError."""
        return self._call(("EVALSHA", script.sha, len(keys), *keys, *args), script, within)

    def command(self, *command: Argument, within: float | None = None) -> asyncio.Future[Any]:
        """Run one command that may safely be run twice. To await it raises as `run` does."""
        return self._call(command, None, within)

    def _call(self, command: tuple[Argument, ...], script: Script | None, within: float | None) -> asyncio.Future[Any]:
        deadline = float("inf") if within is None else self._loop.time() + within
        # packed here, so that what cannot be sent fails its own call and no other; by redis-py it takes 40 us more
        packed = pack_command(command)  # type: ignore[arg-type]  # its stub knows tuples of one only
        call = _Call(script.name if script else str(command[0]), packed, script, deadline, self._loop.create_future())
        self._waiting.append(call)
        self._wanted.set()
        return call.reply

    async def _run(self) -> None:
        failures = 0
        while True:
            if not self._waiting:
                self._wanted.clear()
                await self._wanted.wait()
            calls = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_CALLS))]
            try:
                again = await self._exchange(calls)
                failures = 0
            except (RedisError, OSError) as error:
                again = [call for call in calls if not call.reply.done()]
                if failures == 0:
                    log.warning("store_unreachable", error=str(error), calls=len(again))
                failures += 1
            except asyncio.CancelledError:
                self._waiting.extendleft(reversed(calls))
                raise
            except Exception:  # whatever it is, the next calls are still to be made
                log.exception("store_exchange_failed")
                again = [call for call in calls if not call.reply.done()]
                failures += 1
            self._waiting.extendleft(reversed(again))
            if failures:
                await self._connection.disconnect(nowait=True)
                await asyncio.sleep(BACKOFF[min(failures, len(BACKOFF)) - 1])
                self._give_up()

    def _give_up(self) -> None:
        now = self._loop.time()
        for call in [call for call in self._waiting if call.deadline <= now]:
            self._waiting.remove(call)
            if not call.reply.done():
                call.reply.set_exception(StoreUnavailable("the store does not answer"))

    async def _exchange(self, calls: list[_Call]) -> list[_Call]:
        """Send the calls and settle their replies; answers with those to send again."""
        connection = self._connection
        lost = []
        async with asyncio.timeout(REPLY_TIMEOUT):
            await connection.connect()  # type: ignore[no-untyped-call]  # redis-py leaves it so
            await connection.send_packed_command([b"".join([call.packed for call in calls])])
            STORE_PIPELINES.inc()
            STORE_CALLS.inc(len(calls))
            for call in calls:
                try:
                    reply = await connection.read_response()
                except NoScriptError:
                    lost.append(call)
                except ResponseError as error:
                    if _is_passing(error):
                        raise  # ask anew after a pause, with all that were behind it
                    _fail(call, error)
                else:
                    if not call.reply.done():
                        call.reply.set_result(reply)
            for script in {call.script for call in lost if call.script}:
                await connection.send_command("SCRIPT", "LOAD", script.text)
                await connection.read_response()
        return lost


def _fail(call: _Call, error: ResponseError) -> None:
    if call.reply.done():
        return
    if isinstance(error, OutOfMemoryError):
        call.reply.set_exception(StoreFull("the store is out of memory"))
    else:
        call.reply.set_exception(StoreError(f"{call.name}: {error}"))


def _is_passing(error: ResponseError) -> bool:
    """Whether the store only cannot do it now: it fails over, has lost its disk or its replicas, or is busy."""
    return isinstance(error, PASSING) or str(error).startswith(("NOREPLICAS", "MISCONF", "BUSY "))
