"""Builds the parts of one worker and joins them; the only place that knows them all."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app import logs
from app.chat import files
from app.errors import ConfigError
from app.executor import BoundedExecutor, install, uninstall
from app.gateway.auth import Authenticator
from app.gateway.endpoint import Endpoint
from app.gateway.health import Health
from app.gateway.http import Http
from app.gateway.manual import Manual
from app.gateway.page import Page
from app.metrics import DRAINING
from app.runtime.registry import Registry
from app.runtime.supervisor import Supervisor
from app.settings import Settings
from app.store.redis import RedisStore

log = logs.get(__name__)

STORE_WITHIN = 30.0
"""Seconds a starting worker waits for its store."""

OFFER_WITHIN = 5.0
"""Seconds an agent may take to say what it offers a user."""

WS_PATH = "/ws"
"""Where conversations are held."""

QUOTING = "docs"
"""The agent that quotes the pages beside the handlers' folder, and links to them."""

KINDS = frozenset({"message", "answer", "action", "settings", "state", "edit", "feedback", "cancel", "end"})
"""The inputs this server works on."""


class Agents:
    """What the gateway may know of the agents."""

    def __init__(self, registry: Registry, default: str | None) -> None:
        """Raises: ConfigError if `default` names no agent."""
        self._agents = registry.agents
        if default is not None and default not in self._agents:
            raise ConfigError(f"PARLEY_DEFAULT_AGENT: there is no agent {default}, only {', '.join(self._agents)}")
        self.default = default or min(self._agents, default=None)

    def has(self, agent: str) -> bool:
        """Whether there is an agent of this name."""
        return agent in self._agents

    def starts(self, agent: str) -> bool:
        """Whether the agent wants a turn of its own when a session is made."""
        return "chat_start" in self._agents[agent].hooks

    def hears(self, agent: str, hook: str) -> bool:
        """Whether the agent wants a turn of its own when a connection comes (`connect`) or goes (`disconnect`)."""
        return hook in self._agents[agent].hooks

    def describe(self) -> list[dict[str, Any]]:
        """Name and description of every agent, by name."""
        return [{"name": a.name, "description": a.description} for a in sorted(self._agents.values(), key=_name)]

    async def profiles(self, agent: str, user: str) -> list[dict[str, Any]]:
        """What `set_chat_profiles` offers this user. Raises: TimeoutError after 5 s; and what the agent raises."""
        return await self._offered(agent, "profiles", user)

    async def starters(self, agent: str, user: str) -> list[dict[str, Any]]:
        """What `set_starters` offers this user. Raises: TimeoutError after 5 s; and what the agent raises."""
        return await self._offered(agent, "starters", user)

    async def _offered(self, agent: str, what: str, user: str) -> list[dict[str, Any]]:
        function = self._agents[agent].functions.get(what)
        if function is None:
            return []
        async with asyncio.timeout(OFFER_WITHIN):
            offered: list[dict[str, Any]] = await function(user)
            return offered


class Worker:
    """One worker's parts, and the order in which they begin and end."""

    def __init__(self, settings: Settings, registry: Registry, name: str) -> None:
        if settings.redis_url is None:
            raise ConfigError("REDIS_URL: a worker needs a store")
        self.id = name
        self._settings = settings
        self._registry = registry
        self._executor = BoundedExecutor(
            settings.executor_threads, settings.executor_queue, settings.executor_slow_after
        )
        self.store = RedisStore(settings.redis_url.get_secret_value(), settings, self.id, self._executor.run)
        self.supervisor = Supervisor(self.store, registry, settings, self.id)
        authenticator, directory = Authenticator(settings), Agents(registry, settings.default_agent)
        self.endpoint = Endpoint(
            store=self.store,
            authenticator=authenticator,
            directory=directory,
            settings=settings,
            worker=self.id,
            kinds=KINDS,
        )
        self.http = Http(store=self.store, authenticator=authenticator, directory=directory, settings=settings)
        self.health = Health(self.store.ready)
        self.pages = Page().routes()
        if directory.has(QUOTING):
            self.pages += Manual(settings.handlers.resolve().parent, authenticator, settings).routes()
        self._drained = False

    async def start(self) -> None:
        """Connect, run the agents' startup handlers, take sessions. Raises: ConfigError."""
        logs.bind_process(worker=self.id)
        install(self._executor, asyncio.get_running_loop())
        files.serve(self.store.files)
        try:
            async with asyncio.timeout(STORE_WITHIN):
                await self.store.start()
        except TimeoutError:
            raise ConfigError(f"REDIS_URL: the store did not answer within {STORE_WITHIN:g} s") from None
        for hook in self._registry.startup:
            await hook()
        self.supervisor.start()
        log.info("worker_started", pid=os.getpid(), agents=sorted(self._registry.agents))

    async def drain(self) -> None:
        """Be unready, let nobody in, let turns end and hand the others over; say bye to every socket meanwhile.

        A socket whose session has a turn here is left open until the turn has ended or is handed over.
        """
        if self._drained:
            return
        self._drained = True
        self.health.draining = True
        DRAINING.set(1)
        log.info("worker_draining", sessions=self.supervisor.running, connections=self.endpoint.connections)
        goodbyes = asyncio.create_task(self.endpoint.send_away(self.supervisor.runs), name="goodbyes")
        try:
            await self.supervisor.drain(self._settings.drain_timeout)
            await self.endpoint.drain()
        finally:
            goodbyes.cancel()
            await asyncio.gather(goodbyes, return_exceptions=True)
        log.info("worker_drained", connections=self.endpoint.connections)

    async def stop(self) -> None:
        """End what is left, in the reverse order of the start."""
        await self.drain()
        for hook in self._registry.shutdown:
            await hook()
        await self.supervisor.stop()
        files.serve(None)
        await self.store.stop()
        uninstall()
        self._executor.shutdown()
        log.info("worker_stopped")


class Application(FastAPI):
    """FastAPI for everything but the WebSocket route, whose every frame would pass a dozen layers of middleware.

    They also keep some 10 KB a connection.
    """

    endpoint: Endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection, as ASGI has it."""
        if scope["type"] == "websocket" and scope["path"] == scope.get("root_path", "") + WS_PATH:
            await self.endpoint(scope, receive, send)  # type: ignore[arg-type]  # ASGI's callables are coroutines
        else:
            await super().__call__(scope, receive, send)


def worker_name() -> str:
    """A name for a worker: random, so that no two that were ever started have the same."""
    return secrets.token_hex(6)


def create_app(settings: Settings, registry: Registry, name: str) -> Application:
    """The application of one worker, of this name. `app.state.worker` is its Worker. Raises: ConfigError."""
    worker = Worker(settings, registry, name)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        await worker.start()
        try:
            yield {}
        finally:
            await worker.stop()

    # no docs_url and no redoc_url: their pages are made of scripts from other hosts
    app = Application(title="Parley", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.state.worker = worker
    app.endpoint = worker.endpoint
    app.router.routes.extend(worker.pages)
    app.include_router(worker.http.router)
    app.include_router(worker.health.router)
    return app


def _name(agent: Any) -> str:
    return str(agent.name)
