"""From a hello to a welcome: which session is meant, whether there is one, and what its client is told first."""

from __future__ import annotations

import asyncio
import secrets

from app.errors import ProtocolError
from app.gateway.closing import Closing
from app.gateway.intake import decode
from app.gateway.site import Site
from app.protocol import codec
from app.protocol.close import CloseCode
from app.protocol.frames import START, Limits, Position, Welcome
from app.protocol.inputs import Hello
from app.store.base import Attachment

SESSION_BYTES = 18
"""Random bytes of a session id. 16 are what keeps it unguessable; these fill base64."""

TURN_BYTES = 12
"""Random bytes of a turn's id."""

MAX_WORDS = 2_000
"""Characters of a refusal that lists what there is."""


def first(raw: str | bytes) -> Hello:
    """The hello that a connection has to begin with. Raises: ProtocolError."""
    frame = decode(raw)
    if not isinstance(frame, Hello):
        raise ProtocolError("bad_frame", f"the first frame is hello, not {frame.type}")
    return frame


def position_of(hello: Hello) -> Position:
    """Where the client is; before the first event no mark means anything."""
    return hello.since if hello.since is not None and hello.since.seq else START


async def new_session(site: Site, hello: Hello, user: str) -> str:
    """Make a session for the agent of a hello.

    Raises: Closing if there is no such agent or profile; TooManySessions, StoreFull, StoreUnavailable.
    """
    agent = hello.agent or site.directory.default
    if agent is None:
        raise _no_agent("this server has no agents")
    if not site.directory.has(agent):
        raise _no_agent(f"this server has no agent {agent}")
    profile = await _profile(site, hello, agent, user)
    session = secrets.token_urlsafe(SESSION_BYTES)
    start = secrets.token_urlsafe(TURN_BYTES) if site.directory.starts(agent) else ""
    await site.store.create(session, user, agent, start, profile)
    return session


async def _profile(site: Site, hello: Hello, agent: str, user: str) -> str:
    """The profile of a new session: the one that was asked for, or else the agent's default, or none.

    Raises: Closing if it is not offered to this user; what the agent raises.
    """
    # in a task of its own: the time an agent has to answer is kept by cancelling the task that asks it
    offered = await asyncio.create_task(site.directory.profiles(agent, user))
    if hello.profile is None:
        return next((each["name"] for each in offered if each.get("default")), "")
    names = [each["name"] for each in offered]
    if hello.profile not in names:
        known = f"only {', '.join(names)}" if names else "nor any other"
        raise _no_profile(f"the agent {agent} offers no profile {hello.profile}, {known}"[:MAX_WORDS])
    return hello.profile


def check_agent(site: Site, hello: Hello, attachment: Attachment) -> None:
    """Make sure that a session's agent is here, and that it and the profile are those asked for. Raises: Closing."""
    agent, profile = attachment.agent, attachment.profile
    if not site.directory.has(agent):
        raise _no_agent(f"the session is with the agent {agent}, which this server does not have")
    if hello.agent not in {None, agent}:
        raise _no_agent(f"the session is with the agent {agent}, not {hello.agent}")
    if hello.profile not in {None, profile}:
        has = f"the profile {profile}" if profile else "no profile"
        raise _no_profile(f"the session has {has}, not {hello.profile}: a profile is chosen for a new session")


def welcome(site: Site, hello: Hello, attachment: Attachment) -> bytes:
    """The frame that says what the client is attached to."""
    return codec.encode(
        Welcome(
            session=attachment.session,
            agent=attachment.agent,
            user=attachment.user,
            worker=site.worker,
            resumed=hello.session is not None,
            head=attachment.page.head,
            acked=attachment.acked,
            known=attachment.known,
            limits=Limits(frame_bytes=site.settings.max_frame_bytes, inbox=site.settings.inbox_size),
        )
    )


def _no_agent(message: str) -> Closing:
    return Closing.error(CloseCode.NOT_FOUND, "no_such_agent", message)


def _no_profile(message: str) -> Closing:
    return Closing.error(CloseCode.NOT_FOUND, "no_such_profile", message)
