"""One connection to the store: calls go out in pipelines, and their replies come back in the same order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Any

from hiredis import Reader
from redis.asyncio.connection import AbstractConnection

from app.errors import StoreError, StoreFull
from app.metrics import STORE_CALLS, STORE_PIPELINES

MOST_PIPELINES = 2
"""Pipelines under way: while the store works on one the next is on its way, and what comes meanwhile is joined."""

REPLY_TIMEOUT = 5.0
"""Seconds without a reply after which the connection is taken for dead."""

PASSING = ("READONLY", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "LOADING", "NOREPLICAS", "MISCONF", "BUSY ")
"""How the errors begin of a store that only cannot do it now: it fails over, starts, has lost its disk or replicas."""

LOADING_SCRIPT = "SCRIPT"
"""The command, and so the name of the call, that gives the store a script it did not have."""


class PassingError(Exception):
    """The store cannot do anything just now; nothing ran."""


class ReplyError(Exception):
    """An error that the store replied with, as hiredis hands it over."""


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
class Call:
    """A command in the store's wire format, and where its reply goes. Nobody waits for it after `deadline`.

    `then` makes of the store's reply what is replied, and is called even if nobody waits any more.
    """

    name: str
    packed: bytes
    script: Script | None
    deadline: float
    reply: asyncio.Future[Any]
    then: Callable[[Any], Any] | None = None


class Link(asyncio.Protocol):
    """Takes a connection over from redis-py once it is set up, since its reading costs more than our scripts.

    `free` is called when there is room for a pipeline, `forgotten` with a call whose script the store does not have.
    `lost` is done when the connection is of no use any more, and holds why; `sent` are then the calls without a reply.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, free: Callable[[], None], forgotten: Callable[[Call], None]
    ) -> None:
        self.sent: deque[Call] = deque()
        self.lost: asyncio.Future[Exception] = loop.create_future()
        self.answered = False
        self._loop = loop
        self._free = free
        self._forgotten = forgotten
        self._ends: deque[Call] = deque()
        self._reader = Reader(replyError=ReplyError)
        self._heard = 0.0
        self._transport: asyncio.Transport

    def take_over(self, connection: AbstractConnection) -> None:
        """From now on the connection is this link's."""
        self._transport = connection._writer.transport  # type: ignore[union-attr,assignment]  # noqa: SLF001  # no public way to it
        self._transport.set_protocol(self)
        if self._transport.is_closing():  # and the one that had it before was told
            self.drop(ConnectionResetError("the store closed the connection"))

    @property
    def has_room(self) -> bool:
        """Whether a pipeline can be sent."""
        return len(self._ends) < MOST_PIPELINES and not self.lost.done()

    @property
    def is_silent(self) -> bool:
        """Whether a reply is long overdue."""
        return bool(self.sent) and self._loop.time() - self._heard > REPLY_TIMEOUT

    def send(self, calls: Sequence[Call]) -> None:
        """Send calls, at least one, as one pipeline."""
        if not self.sent:
            self._heard = self._loop.time()
        self.sent.extend(calls)
        self._ends.append(calls[-1])
        self._transport.write(b"".join([call.packed for call in calls]))
        STORE_PIPELINES.inc()
        STORE_CALLS.inc(len(calls))

    def data_received(self, data: bytes) -> None:
        """Settle the calls whose replies are here."""
        self._heard = self._loop.time()
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False and not self.lost.done():
                self._settle(self.sent[0], reply)
                if self.sent.popleft() is self._ends[0]:
                    self._ends.popleft()
        except Exception as error:  # noqa: BLE001  # whatever it is, the calls are made again on another connection
            self.drop(error)
        else:
            self.answered = True
            self._free()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone."""
        self.drop(exc or ConnectionResetError("the store closed the connection"))

    def drop(self, error: Exception) -> None:
        """Give the connection up."""
        if not self.lost.done():
            self.lost.set_result(error)
        self._transport.abort()

    def _settle(self, call: Call, reply: Any) -> None:
        if not isinstance(reply, ReplyError):
            _reply(call, reply)
            return
        words = str(reply)
        if words.startswith(PASSING) or call.name == LOADING_SCRIPT:  # or its calls would be forgotten again at once
            raise PassingError(words)  # asked anew after a pause, with all that were behind it
        if words.startswith("NOSCRIPT") and call.script is not None:
            self._forgotten(call)
        elif not call.reply.done():
            call.reply.set_exception(_failure(call, words))


def _reply(call: Call, reply: Any) -> None:
    error = None
    if call.then is not None:
        try:
            reply = call.then(reply)
        except Exception as raised:  # noqa: BLE001  # it is for whoever waits
            error = raised
    if call.reply.done():
        return
    if error is None:
        call.reply.set_result(reply)
    else:
        call.reply.set_exception(error)


def _failure(call: Call, words: str) -> StoreError:
    if words.startswith("OOM"):
        return StoreFull("the store is out of memory")
    return StoreError(f"{call.name}: {words}")
