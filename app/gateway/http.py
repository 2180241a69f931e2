"""The HTTP routes beside the socket: the agents, a user's sessions, pushes from outside, files, and the documents."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from pydantic import BaseModel
from typing_extensions import override

from app.errors import NoSuchSession, ParleyError, SessionEnded
from app.gateway import pushing
from app.gateway.auth import ANONYMOUS, Authenticator, AuthError
from app.gateway.directory import Directory
from app.gateway.files import FileRoutes
from app.gateway.origin import OriginPolicy
from app.gateway.refusals import Problem, Refusal
from app.protocol import asyncapi, codec
from app.protocol.frames import MAX_NAME
from app.protocol.inputs import EndInput
from app.settings import Settings
from app.store.base import Gateway, NewInput, Refused


class AgentInfo(BaseModel):
    """An agent of this server."""

    name: str
    description: str


class AgentDetail(AgentInfo):
    """An agent, and what it offers who asks: profiles to choose from, and starters to begin with."""

    profiles: list[dict[str, Any]]
    starters: list[dict[str, Any]]


class AgentList(BaseModel):
    """The agents of this server; `default` is that of a session which names none."""

    agents: list[AgentInfo]
    default: str | None


class SessionItem(BaseModel):
    """A living session; `created` is in milliseconds since the epoch."""

    id: str
    agent: str
    created: int


class SessionList(BaseModel):
    """A user's sessions, newest first."""

    sessions: list[SessionItem]


class Kept(BaseModel):
    """A push that is kept: its place in the session's inputs, and its message, or its turn if sent as the user."""

    index: int
    message: str | None = None
    turn: str | None = None


class _Route(APIRoute):
    """A route that says in words why it refuses."""

    @override
    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def answer_or_refuse(request: Request) -> Response:
            try:
                return await answer(request)
            except ParleyError as error:
                refusal = Refusal.because(error)
                if refusal is None:
                    raise
                return refusal.response()

        return answer_or_refuse


class Http:
    """The routes of one worker, in `router`. `Host` and `Origin` are checked as they are for the socket."""

    def __init__(
        self, *, store: Gateway, authenticator: Authenticator, directory: Directory, settings: Settings
    ) -> None:
        self._store = store
        self._authenticator = authenticator
        self._directory = directory
        self._settings = settings
        self._origins = OriginPolicy(settings)
        self._asyncapi = orjson.dumps(asyncapi.document())
        self.router = APIRouter(route_class=_Route, dependencies=[Depends(self._check_origin)])
        self._add_routes()
        FileRoutes(store.files, authenticator, settings).add_to(self.router)

    def _add_routes(self) -> None:
        add, bearer = self.router.add_api_route, [Depends(HTTPBearer(auto_error=False))]
        add("/agents", self._agents, summary="The agents")
        add(
            "/agents/{agent}",
            self._agent,
            summary="An agent, and what it offers the caller",
            dependencies=bearer,
            responses=_refusals(401, 403, 404),
        )
        add("/asyncapi.json", self._document, summary="The WebSocket protocol as an AsyncAPI document")
        add(
            "/sessions",
            self._sessions,
            summary="The caller's own sessions",
            dependencies=bearer,
            responses=_refusals(401, 403, 503),
        )
        add(
            "/sessions/{session}",
            self._end,
            methods=["DELETE"],
            summary="End a session",
            status_code=204,
            dependencies=bearer,
            responses=_refusals(401, 403, 404, 429, 503),
        )
        add(
            "/sessions/{session}/messages",
            self._push,
            methods=["POST"],
            summary="Push a message into a session",
            status_code=202,
            response_model_exclude_none=True,
            dependencies=bearer,
            responses=_refusals(400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 503),
            openapi_extra={
                "requestBody": {"required": True, "content": {"application/json": {"schema": pushing.body_schema()}}}
            },
        )

    # ---- routes

    async def _agents(self) -> AgentList:
        """Every agent by name, with the first line of what it says of itself."""
        agents = [AgentInfo(**agent) for agent in self._directory.describe()]
        return AgentList(agents=agents, default=self._directory.default)

    async def _agent(self, agent: str, request: Request) -> AgentDetail:
        """What the agent offers may depend on who asks: as whoever the bearer is, or anonymously where that is open."""
        user = self._caller(request)
        found = next((each for each in self._directory.describe() if each["name"] == agent), None)
        if found is None:
            raise Refusal(404, "no_such_agent", "there is no such agent")
        profiles = await self._directory.profiles(agent, user)
        return AgentDetail(**found, profiles=profiles, starters=await self._directory.starters(agent, user))

    async def _document(self) -> Response:
        """Made from the models the server itself reads and writes with."""
        return Response(self._asyncapi, media_type="application/json")

    async def _sessions(self, request: Request) -> SessionList:
        """Those that have not ended, newest first. Who did not sign in has no list: such sessions are known by id."""
        user = self._caller(request)
        if user == ANONYMOUS:
            raise AuthError("nobody is signed in: anonymous sessions are known by their ids alone, and not listed")
        living = await self._store.sessions(user)
        return SessionList(sessions=[SessionItem(**session._asdict()) for session in living])

    async def _end(self, session: str, request: Request) -> Response:
        """What runs is cancelled, `on_chat_end` runs, then the session is deleted. 204 also if it has ended before."""
        body = codec.body_of(EndInput())
        end = NewInput(0, "end", body, codec.checksum(body), "")
        try:
            answer = await self._store.push(_checked(session), self._caller(request), end)
        except SessionEnded:
            return Response(status_code=204)
        if isinstance(answer, Refused):
            raise pushing.refusal(answer, self._settings)
        return Response(status_code=204)

    async def _push(
        self,
        session: str,
        request: Request,
        response: Response,
        idempotency_key: Annotated[str | None, Header()] = None,
    ) -> Kept:
        """Show a message to the session's clients at once, or with `"as": "user"` have the agent answer it.

        The bearer is a token of the session's user, or the push key. Under an `Idempotency-Key` it is kept once in
        24 hours: the same request again has the same answer, with `Idempotent-Replayed: true`.
        """
        user = pushing.pusher(self._authenticator, self._settings, request.headers.get("authorization"))
        key = pushing.key_of(idempotency_key)
        push = codec.decode_push(await pushing.body_of(request, self._settings.max_frame_bytes))
        new = pushing.input_of(push, self._settings)
        answer = await self._store.push(_checked(session), user, new, key)
        if isinstance(answer, Refused):
            raise pushing.refusal(answer, self._settings)
        if answer.duplicate:
            response.headers["Idempotent-Replayed"] = "true"
        return Kept(index=answer.index, turn=answer.id) if new.turn else Kept(index=answer.index, message=answer.id)

    # ---- who asks

    async def _check_origin(self, request: Request) -> None:
        if reason := self._origins.refusal(request.headers.get("host"), request.headers.get("origin")):
            raise Refusal(403, "origin_refused", reason)

    def _caller(self, request: Request) -> str:
        return self._authenticator.identify(request.headers.get("authorization"), None).user


def _checked(session: str) -> str:
    """A session id that can be one. Raises: NoSuchSession."""
    if len(session) > MAX_NAME:
        raise NoSuchSession(session)
    return session


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem} for status in statuses}
