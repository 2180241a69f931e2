"""The WebSocket route: who may enter, and all connections of this worker together."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any

from app import logs
from app.gateway.auth import Authenticator
from app.gateway.closing import BUSY_AFTER_MS, Closing
from app.gateway.connection import Connection, Receive
from app.gateway.directory import Directory
from app.gateway.folds import Folds
from app.gateway.limits import Admission
from app.gateway.origin import OriginPolicy
from app.gateway.outbox import Message, Send
from app.gateway.site import Site
from app.metrics import CONNECTIONS
from app.protocol.close import CloseCode
from app.protocol.frames import SUBPROTOCOL
from app.settings import Settings
from app.sockets import LANE
from app.store.base import Gateway

log = logs.get(__name__)

SWEEP_SECONDS = 60.0
"""About how often each connection looks whether it missed an event of which nobody told it."""

DRAIN_BATCH = 200
"""Connections that are sent away at once at the worker's end …"""

DRAIN_PAUSE = 0.1
"""… and the seconds after which the next ones are, so that they do not all come to the others at once."""

DRAIN_WITHIN = 5.0
"""Seconds that the last ones have to take in what was sent to them."""

RECONNECT_WITHIN_MS = 1_000
"""The time over which clients that are sent away are asked to spread their return."""


class Endpoint:
    """An ASGI application for the WebSocket connections of one worker.

    `kinds` are the types of inputs this server works on; `sweep` is how often a connection looks at its log
    unasked, in seconds. Everything it runs ends with the last connection.
    """

    def __init__(  # the parts a worker is joined of, all by name
        self,
        *,
        store: Gateway,
        authenticator: Authenticator,
        directory: Directory,
        settings: Settings,
        worker: str,
        kinds: Iterable[str],
        sweep: float = SWEEP_SECONDS,
    ) -> None:
        self._site = Site(store, authenticator, directory, settings, worker, frozenset(kinds), Folds(store))
        self._origins = OriginPolicy(settings)
        self._admission = Admission(settings)
        self._numbers = itertools.count(1)
        # in the order in which they were last swept
        self._connections: dict[Connection, None] = {}
        self._sweep_seconds = sweep
        self._sweeper: asyncio.Task[None] | None = None
        self._left = asyncio.Event()
        self._draining = False

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Serve one WebSocket connection until it ends."""
        await receive()
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        address = scope["client"][0] if scope.get("client") else None
        refusal = self._refusal(scope, headers, address)
        try:
            await send(_acceptance(scope))
        except OSError:
            return
        lane = scope["extensions"].get(LANE)
        connection = Connection(self._site, next(self._numbers), headers.get("authorization"), receive, send, lane)
        if refusal is not None:
            # After it was accepted: a refused handshake would show a browser 1006 and no reason.
            connection.close(refusal)
            await connection.run()
        else:
            await self._serve(connection, address)

    async def send_away(self, stays: Callable[[str], bool]) -> None:
        """Let nobody in any more and send everybody away, to come back soon and find another worker.

        Clients of a session that `stays` are left in peace for as long as it does. Returns once all are told.
        """
        self._draining = True
        while here := [connection for connection in self._connections if not connection.is_closing]:
            for connection in [each for each in here if not stays(each.session)][:DRAIN_BATCH]:
                connection.close(_going_away())
            await asyncio.sleep(DRAIN_PAUSE)

    async def drain(self) -> None:
        """Send away whoever is still here, and wait until they have gone."""
        await self.send_away(lambda _: False)
        try:
            async with asyncio.timeout(DRAIN_WITHIN):
                while self._connections:
                    self._left.clear()
                    await self._left.wait()
        except TimeoutError:
            log.warning("connections_left_behind", connections=len(self._connections))

    # ---- inside

    def _refusal(self, scope: Message, headers: dict[str, str], address: str | None) -> Closing | None:
        if reason := self._origins.refusal(headers.get("host"), headers.get("origin")):
            return Closing.error(CloseCode.FORBIDDEN, "origin_refused", reason)
        if scope["subprotocols"] and SUBPROTOCOL not in scope["subprotocols"]:
            return Closing.error(CloseCode.BAD_FRAME, "subprotocol", f"the subprotocol here is {SUBPROTOCOL}")
        if reason := self._admission.refusal(address):
            log.warning("connection_refused", reason=reason)
            return Closing.bye(CloseCode.BUSY, "busy", BUSY_AFTER_MS)
        return None

    async def _serve(self, connection: Connection, address: str | None) -> None:
        self._admission.enter(address)
        self._connections[connection] = None
        CONNECTIONS.inc()
        if self._draining:
            connection.close(_going_away())
        if self._sweeper is None:
            self._sweeper = asyncio.create_task(self._sweep(), name="gateway sweep")
        try:
            await connection.run()
        finally:
            self._admission.leave(address)
            del self._connections[connection]
            CONNECTIONS.dec()
            self._left.set()
            if not self._connections:
                self._sweeper.cancel()
                self._sweeper = None

    async def _sweep(self) -> None:
        while True:
            jitter = random.uniform(0.5, 1.5)  # noqa: S311  # spreads, hides nothing
            await asyncio.sleep(self._sweep_seconds * jitter / len(self._connections))
            connection = next(iter(self._connections))
            del self._connections[connection]
            self._connections[connection] = None
            connection.look()


def _acceptance(scope: Message) -> dict[str, Any]:
    offered = SUBPROTOCOL in scope["subprotocols"]
    return {"type": "websocket.accept", "subprotocol": SUBPROTOCOL if offered else None}


def _going_away() -> Closing:
    after_ms = random.randrange(RECONNECT_WITHIN_MS)  # noqa: S311  # spreads, hides nothing
    return Closing.bye(CloseCode.GOING_AWAY, "going_away", after_ms)
