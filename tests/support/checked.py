"""The `parley` command for tests, whose servers hold every frame that goes through them against the document.

`python -m tests.support.checked serve …` is `parley serve …`. Whatever client a test uses, be it a browser or a program
in a process of its own: what the server sends it must be in the published document, and so must be what the server
takes for a frame. What is not is said in the log after `UNDOCUMENTED`; whoever runs the server looks for it there.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from app.cli import main
from app.errors import ProtocolError
from app.gateway.connection import Receive
from app.gateway.endpoint import Endpoint
from app.gateway.outbox import Message, Send
from app.protocol import codec
from app.sockets import LANE, Lane
from tests.support.document import UNDOCUMENTED, assert_documented

Report = Callable[[str], object]
"""Is told of each frame that is not in the document."""


class CheckedEndpoint:
    """An endpoint, and a look at all that goes in and out of it."""

    def __init__(self, endpoint: Callable[[Any, Receive, Send], Any], report: Report) -> None:
        self._endpoint = endpoint
        self._report = report

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Serve one connection."""

        async def heard() -> Message:
            message = await receive()
            if isinstance(text := message.get("text"), str):
                self._hear(text)
            return message

        async def said(message: Message) -> None:
            if message["type"] == "websocket.send":
                self._say(message["text"])
            await send(message)

        extensions = dict(scope.get("extensions") or {})
        if LANE in extensions:
            extensions[LANE] = _CheckedLane(extensions[LANE], self._hear, self._say)
        await self._endpoint({**scope, "extensions": extensions}, heard, said)

    def _say(self, text: str) -> None:
        self._check("toClient", json.loads(text))

    def _hear(self, text: str) -> None:
        """What the server refuses may be anything; what it takes is its word that this may be sent."""
        try:
            codec.decode(text)
        except ProtocolError:
            return
        self._check("fromClient", json.loads(text))

    def _check(self, side: Any, frame: dict[str, Any]) -> None:
        try:
            assert_documented(side, frame)
        except AssertionError as error:
            self._report(f"{UNDOCUMENTED}: {error}")


class _CheckedLane:
    """A lane, and a look at all that goes in and out of it."""

    def __init__(self, lane: Lane, heard: Callable[[str], None], said: Callable[[str], None]) -> None:
        self._lane = lane
        self._heard = heard
        self._said = said

    @property
    def hear(self) -> Callable[[str], bool] | None:
        """As the lane has it."""
        return self._lane.hear

    @hear.setter
    def hear(self, hear: Callable[[str], bool] | None) -> None:
        if hear is None:
            self._lane.hear = None
            return

        def checked(text: str) -> bool:
            took = hear(text)
            if took:  # else it is received
                self._heard(text)
            return took

        self._lane.hear = checked

    def post(self, text: bytes, *, hold: bool = False) -> bool:
        """As the lane does."""
        posted = self._lane.post(text, hold=hold)
        if posted:  # else it is sent
            self._said(text.decode())
        return posted


def _log(words: str) -> None:
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()


def _plant() -> None:
    serve = Endpoint.__call__

    async def checked(self: Endpoint, scope: Any, receive: Receive, send: Send) -> None:
        async def inner(scope: Any, receive: Receive, send: Send) -> None:
            await serve(self, scope, receive, send)

        await CheckedEndpoint(inner, _log)(scope, receive, send)

    Endpoint.__call__ = checked  # type: ignore[method-assign]  # here and in every worker that is spawned from here


_plant()

if __name__ == "__main__":
    main()
