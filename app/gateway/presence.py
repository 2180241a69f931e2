"""Tells a session's owner that a connection has come or gone, for agents that have a hook for it and no others."""

from __future__ import annotations

import secrets

from app import logs
from app.errors import ParleyError
from app.gateway.greeting import TURN_BYTES
from app.gateway.site import Site
from app.protocol import codec, presence
from app.protocol.presence import Connected, Disconnected
from app.store.base import Attachment, NewInput, Refused

log = logs.get(__name__)

ID_BYTES = 12
"""Random bytes of a connection's id."""


class Presence:
    """What one connection's coming and going means to the owner of its session."""

    __slots__ = ("_agent", "_client", "_id", "_session", "_site", "_user")

    def __init__(self, site: Site, attachment: Attachment, client: str) -> None:
        self._site = site
        self._session = attachment.session
        self._user = attachment.user
        self._agent = attachment.agent
        self._client = client
        self._id = secrets.token_urlsafe(ID_BYTES)

    async def came(self) -> None:
        """The client is attached: `on_connect` is to be called, before anything that the client sends."""
        if self._site.directory.hears(self._agent, "connect"):
            await self._tell(Connected(id=self._id, client=self._client))

    async def left(self) -> None:
        """The client has gone: `on_disconnect` is to be called."""
        if self._site.directory.hears(self._agent, "disconnect"):
            await self._tell(Disconnected(id=self._id, client=self._client))

    async def _tell(self, news: presence.Presence) -> None:
        """Keep it as an input. Where that cannot be, the hook is not called, and the connection goes on."""
        body = codec.body_of(news)
        new = NewInput(0, news.type, body, codec.checksum(body), secrets.token_urlsafe(TURN_BYTES))
        try:
            answer = await self._site.store.push(self._session, self._user, new)
        except ParleyError as error:
            reason = type(error).__name__
        else:
            reason = "the inbox is full" if isinstance(answer, Refused) else ""
        if reason:
            log.warning("hook_not_called", session=self._session, hook=f"on_{news.type}", reason=reason)


def of(site: Site, attachment: Attachment, client: str) -> Presence | None:
    """The presence of a connection, if its agent has a hook for it."""
    hears = site.directory.hears(attachment.agent, "connect") or site.directory.hears(attachment.agent, "disconnect")
    return Presence(site, attachment, client) if hears else None
