"""That no frame of the test suite goes by unchecked."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from app.gateway.connection import Receive
from app.gateway.outbox import Message, Send
from app.sockets import LANE, Lane
from tests.support.checked import CheckedEndpoint
from tests.support.document import UNDOCUMENTED
from tests.support.server import ROOT, ParleyServer

PONG = {"type": "pong", "time": 1}
PING = {"type": "ping", "t": 1}

KNOWN = {
    # hold what they send and get against the document themselves
    "acceptance/crowd.py",
    # write them all down, for a rule to hold them against it
    "chaos/stage.py",
    "chaos/tabs.py",
    "support/wire.py",
    "client/fake.py",
    "playground/test_counting.py",
    # play through the fake
    "client/test_counting.py",
    # talk to servers that hold all frames against it
    "gateway/test_doors.py",
    # are about what is no frame of ours
    "support/test_checked.py",
    "support/test_wire.py",
    "client/test_ending.py",
    "test_sockets.py",
}
"""The modules that open or play WebSockets by themselves, or say how."""

UNCHECKED = {
    "acceptance/test_reconnects.py",
    "acceptance/test_rolling.py",
    "acceptance/test_slow.py",
    "acceptance/test_takeover.py",
    "chaos/__main__.py",
    "chaos/runner.py",
    "chaos/test_mutants.py",
    "support/test_checked.py",
}
"""The modules that run servers without the checks. What they measure is the server; their clients check all frames."""


class FakeLane:
    """Takes all, and says what it is told to."""

    hear: Callable[[str], bool] | None = None

    def post(self, text: bytes, *, hold: bool = False) -> bool:
        return bool(text) or hold


async def lane_passed(*, sent: Sequence[Any] = (), received: Sequence[str] = ()) -> list[str]:
    """The same of a connection by its lane."""
    reports: list[str] = []
    lane = FakeLane()

    async def endpoint(scope: Any, receive: Receive, _: Send) -> None:
        ours: Lane = scope["extensions"][LANE]
        ours.hear = lambda _: True
        await receive()
        for frame in sent:
            assert ours.post(json.dumps(frame).encode())
        ours.hear = None

    async def receive() -> Message:
        for text in received:
            assert lane.hear is not None
            assert lane.hear(text)
        return {"type": "websocket.disconnect"}

    async def send(_: Message) -> None:
        pass

    await CheckedEndpoint(endpoint, reports.append)({"extensions": {LANE: lane}}, receive, send)
    assert lane.hear is None
    return reports


async def asgi_passed(*, sent: Sequence[Any] = (), received: Sequence[str] = ()) -> list[str]:
    """What is reported of a connection with these frames."""
    reports: list[str] = []
    waiting = deque(received)

    async def endpoint(_: Any, receive: Receive, send: Send) -> None:
        while waiting:
            await receive()
        for frame in sent:
            await send({"type": "websocket.send", "text": json.dumps(frame)})

    async def receive() -> Message:
        return {"type": "websocket.receive", "text": waiting.popleft()}

    async def send(_: Message) -> None:
        pass

    await CheckedEndpoint(endpoint, reports.append)({}, receive, send)
    return reports


Passed = Callable[..., Awaitable[list[str]]]


@pytest.fixture(params=[asgi_passed, lane_passed])
def passed(request: pytest.FixtureRequest) -> Passed:
    """Both ways that frames go."""
    way: Passed = request.param
    return way


async def test_documented_frames_pass(passed: Passed) -> None:
    assert await passed(sent=[PONG], received=[json.dumps(PING)]) == []


@pytest.mark.parametrize("frame", [{"type": "pong"}, PONG | {"more": 1}, {"type": "gossip"}])
async def test_a_server_must_send_what_is_documented(passed: Passed, frame: Any) -> None:
    assert [UNDOCUMENTED in report for report in await passed(sent=[frame])] == [True]


async def test_what_the_server_refuses_may_be_anything(passed: Passed) -> None:
    assert await passed(received=["{", '{"type":"gossip"}', "[]"]) == []


async def test_what_the_server_takes_must_be_documented(passed: Passed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.protocol.codec.decode", lambda text: text)
    assert [UNDOCUMENTED in report for report in await passed(received=['{"type":"gossip"}'])] == [True]


def test_a_server_with_an_undocumented_frame_fails_at_its_end(tmp_path: Path) -> None:
    server = ParleyServer(tmp_path)
    server.log.write_text(f"{UNDOCUMENTED}: because\n")
    with pytest.raises(AssertionError, match="because"):
        server.close()


@pytest.mark.parametrize(
    ("known", "signs"), [(KNOWN, ("websockets.asyncio", "route_web_socket(")), (UNCHECKED, ('("app",)',))]
)
def test_who_could_let_a_frame_go_by_is_known(known: set[str], signs: Sequence[str]) -> None:
    folder = ROOT / "tests"
    found = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if any(sign in path.read_text() for sign in signs)
    }
    assert found == known, "is every frame of these held against the document?"
