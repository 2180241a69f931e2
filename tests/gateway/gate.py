"""A gateway alone: its endpoint under a real uvicorn in the test's own loop, on a real store, without a runtime."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import secrets
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.routing import WebSocketRoute
from typing_extensions import override

from app.gateway.auth import Authenticator
from app.gateway.endpoint import Endpoint
from app.gateway.health import Health
from app.gateway.http import Http
from app.protocol import codec, events
from app.protocol.events import Event
from app.protocol.frames import Position
from app.settings import Settings
from app.sockets import LeanProtocol
from app.store import keys
from app.store.base import Accepted, Attachment, Batch, Claim, LogEntry, NewInput, Page, Refused
from app.store.batcher import Argument
from app.store.redis import RedisStore
from tests.support.checked import CheckedEndpoint
from tests.support.serving import Server
from tests.support.valkey import ValkeyProcess
from tests.support.wire import Frame, WireClient

KINDS = frozenset({"message", "cancel", "end"})


class Agents:
    """The directory: `echo`; `greeter` with a start of its own; `porter` with profiles and hooks, `bell` with one."""

    default: str | None = "echo"

    def has(self, agent: str) -> bool:
        return agent in {"echo", "greeter", "porter", "bell"}

    def starts(self, agent: str) -> bool:
        return agent == "greeter"

    def hears(self, agent: str, hook: str) -> bool:
        return agent == "porter" or (agent == "bell" and hook == "disconnect")

    def describe(self) -> list[dict[str, Any]]:
        return [{"name": "echo", "description": ""}, {"name": "greeter", "description": ""}]

    async def profiles(self, agent: str, user: str) -> list[dict[str, Any]]:
        mine = [{"name": f"{agent} for {user}"}]
        return [mine[0] | {"default": True}, {"name": "quiet"}] if agent == "porter" else mine

    async def starters(self, agent: str, user: str) -> list[dict[str, Any]]:
        return [{"label": "Hi", "message": f"I am {user} at {agent}"}]


@dataclass
class Gate:
    """A running gateway."""

    store: HeldStore
    endpoint: Endpoint
    health: Health
    settings: Settings
    port: int
    server: uvicorn.Server

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    async def connect(self, **options: Any) -> WireClient:
        return await WireClient.connect(self.url, **options)

    async def join(self, **hello: Any) -> WireClient:
        """A client that was welcomed."""
        client = await self.connect()
        await client.hello(**hello)
        return client


class HeldStore(RedisStore):
    """A store that can be made to wait before some of its calls, or after some of its scripts."""

    def __init__(self, url: str, settings: Settings, worker: str) -> None:
        super().__init__(url, settings, worker)
        self._held_calls: frozenset[str] = frozenset()
        self._free = asyncio.Event()
        self.waiting = asyncio.Event()
        """Set once a call waits."""
        self.accepts = 0
        """Inputs that were offered so far."""

    def hold(self, *calls: str) -> None:
        self._held_calls = frozenset(calls)
        self._free.clear()
        self.waiting.clear()

    def free(self) -> None:
        self._held_calls = frozenset()
        self._free.set()

    async def _pass(self, call: str) -> None:
        if call in self._held_calls:
            self.waiting.set()
            await self._free.wait()

    @override
    async def attach(self, session: str, user: str, client: str, since: Position) -> Attachment:
        await self._pass("attach")
        return await super().attach(session, user, client, since)

    @override
    async def read(self, session: str, since: Position) -> Page:
        await self._pass("read")
        return await super().read(session, since)

    @override
    def accept(self, session: str, client: str, new: NewInput) -> asyncio.Future[Accepted | Refused]:
        self.accepts += 1
        return asyncio.ensure_future(self._accept(session, client, new))

    async def _accept(self, session: str, client: str, new: NewInput) -> Accepted | Refused:
        await self._pass("accept")
        accepted = await super().accept(session, client, new)
        await self._pass("after accept")
        return accepted

    @override
    async def _run(self, name: str, session: str, args: Sequence[Argument], within: float | None = None) -> list[Any]:
        reply = await super()._run(name, session, args, within)
        await self._pass(f"after {name}")
        return reply

    def lose_sight(self) -> None:
        """Do what is done when the channel had to be subscribed to again."""
        self._channel.again.set()


@contextlib.asynccontextmanager
async def running_store(url: str, settings: Settings) -> AsyncIterator[HeldStore]:
    """A store as its worker would run it, with its heartbeat and its repairs."""
    store = HeldStore(url, settings, secrets.token_hex(4))
    await store.start()
    tasks = [asyncio.create_task(_beat(store)), asyncio.create_task(store.repair())]
    try:
        yield store
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await store.stop()


async def _beat(store: RedisStore) -> None:
    while True:
        await store.renew(())
        await asyncio.sleep(0.5)


@contextlib.asynccontextmanager
async def running_gate(
    url: str, settings: Settings, *, sweep: float = 60.0, dead_peer_ms: int = 15_000
) -> AsyncIterator[Gate]:
    """A gateway on a free port of 127.0.0.1. Ends with the block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # as the server does, so that a socket whose client does not read goes away for sure
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, dead_peer_ms)
        async with running_store(url, settings) as store:
            authenticator, directory = Authenticator(settings), Agents()
            endpoint = Endpoint(
                store=store,
                authenticator=authenticator,
                directory=directory,
                settings=settings,
                worker=store.worker,
                kinds=KINDS,
                sweep=sweep,
            )
            health = Health(store.ready)
            undocumented: list[str] = []
            app = FastAPI(openapi_url=None)
            app.router.routes.append(WebSocketRoute("/ws", CheckedEndpoint(endpoint, undocumented.append)))
            app.include_router(health.router)
            http = Http(store=store, authenticator=authenticator, directory=directory, settings=settings)
            app.include_router(http.router)
            server = Server(_config(app, settings))
            serving = asyncio.create_task(server.serve([listener]))
            await server.ready.wait()
            try:
                yield Gate(store, endpoint, health, settings, listener.getsockname()[1], server)
            finally:
                server.should_exit = True
                await serving
            assert not undocumented, undocumented[0]


def _config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws=LeanProtocol,
        ws_max_size=settings.max_frame_bytes,
        ws_per_message_deflate=False,
        ws_ping_interval=settings.idle_timeout / 2,
        ws_ping_timeout=settings.idle_timeout / 2,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )


class Owner:
    """Holds a session's lease and writes its log, in the place of a runtime."""

    def __init__(self, store: RedisStore, claim: Claim) -> None:
        self.store = store
        self.claim = claim
        self.at = claim.head.seq
        self._ids = itertools.count()

    @classmethod
    async def of(cls, store: RedisStore, session: str, dead: str = "") -> Owner:
        claim = await store.claim(session, dead)
        assert claim is not None, "another one holds the lease"
        return cls(store, claim)

    async def write(self, *entries: Sequence[Event], **batch: Any) -> None:
        """Append these entries, each of some events, in one call."""
        packed: list[LogEntry] = []
        for entry in entries:
            for frame in codec.pack(self.at + 1, self.claim.mark, None, 1, entry):
                packed.append(LogEntry(frame.first, frame.last, self.claim.mark, frame.frame))
                self.at = frame.last
        expected = packed[0].first - 1 if packed else self.at
        await self.store.append(self.claim, expected, Batch(secrets.token_hex(4), entries=packed, **batch))

    async def say(self, text: str, **batch: Any) -> None:
        """Append a message."""
        await self.write(saying(f"m{next(self._ids)}-{self.claim.mark}", text), **batch)


def saying(message: str, text: str) -> list[Event]:
    """The events of one message: three."""
    return list(events.text_message(message, text))


async def reach(client: WireClient, seq: int) -> None:
    """Receive until the client is at a position."""
    while client.since["seq"] < seq:
        await client.receive()


async def is_deaf(valkey: ValkeyProcess, session: str, worker: str, *, deaf: bool) -> None:
    """Have a worker not told of the session's events, or told again."""
    async with valkey.async_client() as redis:
        listeners = keys.listeners(session)
        await (redis.srem(listeners, worker) if deaf else redis.sadd(listeners, worker))


async def until(condition: Callable[[], object], what: str, within: float = 10.0) -> None:
    """Return as soon as a condition holds; fail, naming `what`, if it does not in time."""
    try:
        async with asyncio.timeout(within):
            while not condition():  # what others do, of which they send no word
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not after {within:g} s: {what}") from None


async def refused(client: WireClient) -> Frame:
    """The next frame, which must be an error that does not close."""
    frame = await client.receive()
    assert (frame["type"], frame["fatal"]) == ("error", False), frame
    return frame


async def fatal(client: WireClient, code: int, name: str) -> str:
    """The message of the error before the connection is closed with this code."""
    assert (await client.closed())[0] == code
    last = client.frames[-1]
    assert (last["type"], last["code"], last["fatal"]) == ("error", name, True), last
    return str(last["message"])
