"""What a program holds in its hands: a client of one session."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Self, cast

import orjson

from app.client.answer import Answer
from app.client.buffer import Item, ResetEvent
from app.client.errors import Closed, InputRefused
from app.client.inputs import Sent
from app.client.link import Link
from app.protocol.codec import decode
from app.protocol.frames import Position, Welcome
from app.protocol.inputs import Durable, Hello

N_BYTES = 24
"""Bytes of a frame that its number may take."""


def connect(  # noqa: PLR0913  # all that a hello has, by name
    url: str = "http://127.0.0.1:8000",
    *,
    agent: str | None = None,
    profile: str | None = None,
    session: str | None = None,
    client: str | None = None,
    since: Position | None = None,
    token: str | None = None,
    give_up_after: float | None = None,
    on_state: Callable[[str | None], None] | None = None,
) -> Client:
    """A client of the server at `url`, for `async with`: connected inside it, and again after every loss.

    Without `session` a new one is made, for `agent` or the server's default, with the agent's `profile` if one is
    chosen. `client` names this program run to the server (8 to 64 of `[A-Za-z0-9_-]`); give it only to go on
    counting for an earlier run. `since` is the last event that was handled before; without it all that the log
    holds comes first. `give_up_after` is how many seconds to go on without a connection; None is for ever.
    `on_state` is told why a connection was lost, in a few words, and with None that there is one.

    Entering raises Unreachable, at once, if there is no server; ClosedByServer if it does not take us.

    Raises: ConfigError if `url` is no address; ProtocolError if another argument is out of its bounds.
    """
    who = {"client": client or secrets.token_urlsafe(16), "token": token, "since": since and since._asdict()}
    hello = decode(orjson.dumps({"type": "hello", "session": session, "agent": agent, "profile": profile, **who}))
    return Client(Link(url, cast("Hello", hello), give_up_after=give_up_after, on_state=on_state))


class Client:
    """A client of one session, made by `connect`.

    Every input method returns once the input is kept here: it is sent, and sent again after a loss, until the
    server has no more need of it. They wait while 1,000 inputs or 16 MiB of them are kept. They raise
    ProtocolError for what no server would take, InputRefused for what is too large for this one, and what
    ended the connection, if it ended for good. Await `Sent.acked` to know that the server has an input.

    Of `events`, `turn` and `ask` only one can be at work at a time: each event is handed out once. While none
    is, reading stops after 1,000 events or 1 MiB, and the server may close the connection as too slow; that
    costs nothing but a reconnect.
    """

    def __init__(self, link: Link) -> None:
        self._link = link

    async def __aenter__(self) -> Self:
        await self._link.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._link.close()

    @property
    def welcome(self) -> Welcome:
        """The server's latest welcome: session, agent, user, worker and limits."""
        if self._link.welcome is None:
            raise Closed
        return self._link.welcome

    @property
    def session(self) -> str:
        """The session's id."""
        return self.welcome.session

    # ---- inputs

    async def send(
        self,
        content: str | list[dict[str, Any]],
        *,
        id: str | None = None,  # noqa: A002 - the member's name
        metadata: dict[str, Any] | None = None,
        command: str | None = None,
    ) -> Sent:
        """Say something: a text, or a list of AG-UI content parts. `id` is the message's, made up if absent."""
        id_ = id or secrets.token_urlsafe(16)
        return await self._keep(
            {"type": "message", "content": content, "id": id_, "metadata": metadata, "command": command}
        )

    async def answer(self, ask: str, value: Any = None, *, cancelled: bool = False) -> Sent:
        """Answer an ask with a JSON value, or decline to."""
        outcome = {"cancelled": True} if cancelled else {"value": value}
        return await self._keep({"type": "answer", "ask": ask} | outcome)

    async def action(self, name: str, payload: dict[str, Any] | None = None, *, message: str | None = None) -> Sent:
        """Press the button `name` of a message."""
        return await self._keep({"type": "action", "name": name, "payload": payload or {}, "for": message})

    async def cancel(self, turn: str | None = None) -> Sent:
        """Stop a turn, or the oldest that is not done."""
        return await self._keep({"type": "cancel", "turn": turn})

    async def end(self) -> Sent:
        """End the session. The server then closes the connection, and `events` comes to its end."""
        return await self._keep({"type": "end"})

    async def ping(self) -> float:
        """Seconds until the server answered, reconnecting if need be."""
        now = asyncio.get_running_loop().time
        begun = now()
        await self._link.ping()
        return now() - begun

    async def _keep(self, members: dict[str, Any]) -> Sent:
        frame = cast("Durable", decode(orjson.dumps({"n": 1, **members})))
        sent = Sent(frame, self._link.listen_until)
        limit = self.welcome.limits.frame_bytes
        if len(sent.body) + N_BYTES > limit:
            raise InputRefused("too_big", f"a {sent.kind} of {len(sent.body)} bytes, at most {limit - N_BYTES}")
        await self._link.keep(sent)
        return sent

    # ---- the log

    async def events(self) -> AsyncIterator[Item]:
        """Every event of the session once and in order, and resets; ends when the server says that all is done.

        Raises: ClosedByServer, Unreachable, after what came before.
        """
        with contextlib.suppress(Closed):
            while True:
                yield await self._link.next()

    async def turn(self, sent: Sent) -> AsyncIterator[Item]:
        """The events of an input's turn up to its terminal event, and resets; events of other turns are passed over.

        Ends at once if the turn's end was passed over before. Raises: InputRefused, ValueError for an input that
        is no turn, and what ended the connection.
        """
        if (await sent.acked()).turn is None:
            raise ValueError(f"the server has no turn for this {sent.kind}")
        while not self.is_over(sent):
            item = await self._link.next()
            # asked again for each event: after a loss the input may be another turn, acknowledged anew
            if isinstance(item, ResetEvent) or item.turn == (await sent.acked()).turn:
                yield item

    def is_over(self, sent: Sent) -> bool:
        """Whether the end of an input's turn was handed out."""
        return sent.ended_at is not None and self._link.buffer.handed >= sent.ended_at

    async def ask(self, content: str | list[dict[str, Any]]) -> str:
        """Say something and wait for the answer's text. Raises: as `send` and `answer_to` do."""
        return await self.answer_to(await self.send(content))

    async def answer_to(self, sent: Sent) -> str:
        """The text of a turn once it has ended, without what was superseded on the way.

        Raises: TurnFailed, also if the turn's end was passed over before; and as `turn` does.
        """
        answer = Answer(sent.message)
        async for item in self.turn(sent):
            answer.take(item)
        return answer.text()
