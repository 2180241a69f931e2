"""How connections come about and end: what is tried again, and what is final and raised."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from app.client import Closed, ClosedByServer, Unreachable, connect
from app.client.address import SUBPROTOCOL, endpoint
from app.client.link import backoff
from app.errors import ConfigError, ProtocolError
from app.protocol import events
from app.protocol.close import CloseCode
from tests.client.fake import Peer, numbers, playing, stays, take

FINAL = [code for code in CloseCode if not code.reconnect and code != CloseCode.DONE]
AGAIN = [code for code in CloseCode if code.reconnect]


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens, and nobody will."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8000", "ws://127.0.0.1:8000/ws"),
        ("http://127.0.0.1:8000/", "ws://127.0.0.1:8000/ws"),
        ("https://example.org/base/", "wss://example.org/base/ws"),
        ("ws://[::1]:9/ws", "ws://[::1]:9/ws"),
        ("wss://example.org/base/ws/?x=1#y", "wss://example.org/base/ws"),
    ],
)
def test_an_address_may_be_written_in_many_ways(url: str, expected: str) -> None:
    assert endpoint(url) == expected


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://", "http://host:x", "http://[::1", ""])
def test_what_is_no_address_is_refused_in_one_line(url: str) -> None:
    with pytest.raises(ConfigError, match=r"^the address .* is not http\(s\)://host") as refused:
        connect(url)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("client", "short"), ("token", "x" * 20_000), ("session", "")])
def test_arguments_out_of_bounds_are_refused(name: str, value: str) -> None:
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(ProtocolError, match=f"hello.{name}"):
        connect(**arguments)


async def test_no_server_is_final_at_first(nobody: str) -> None:
    with pytest.raises(Unreachable) as failure:
        async with connect(nobody):
            raise AssertionError("there is no server")
    assert str(failure.value) == f"cannot reach {nobody}: connection refused"


async def test_a_host_without_an_address_is_said_so() -> None:
    with pytest.raises(Unreachable, match="no such host"):
        async with connect("http://nowhere.invalid"):
            raise AssertionError("there is no such host")


async def test_no_server_at_any_of_several_addresses(monkeypatch: pytest.MonkeyPatch, nobody: str) -> None:
    port = int(nobody.rsplit(":", 1)[1])
    loop = asyncio.get_running_loop()

    async def both(*_: object, **__: object) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)),
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port)),
        ]

    monkeypatch.setattr(loop, "getaddrinfo", both)
    with pytest.raises(Unreachable, match="connection refused"):
        async with connect(f"http://localhost:{port}"):
            raise AssertionError("there is no server")


async def test_a_web_server_that_is_no_parley_is_final() -> None:
    async def nothing(_: ServerConnection) -> None:
        raise AssertionError("there is no WebSocket here")

    async with serve(
        nothing, "127.0.0.1", 0, process_request=lambda c, _: c.respond(HTTPStatus.NOT_FOUND, "")
    ) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(Unreachable, match="it answered HTTP 404"):
            async with connect(url):
                raise AssertionError("this is no Parley")


async def test_a_websocket_server_that_is_no_parley_is_final() -> None:
    async def scene(peer: Peer) -> None:
        await peer.frame("hello")
        await peer.send_nonsense(b"What do you want?")
        await peer.gone()

    async with playing(scene) as server:
        with pytest.raises(Unreachable, match="not JSON"):
            async with connect(server.url):
                raise AssertionError("this is no Parley")


async def test_a_first_connection_that_is_dropped_is_final() -> None:
    async def scene(peer: Peer) -> None:
        await peer.frame("hello")
        peer.drop()

    async with playing(scene) as server:
        with pytest.raises(Unreachable, match="connection lost"):
            async with connect(server.url):
                raise AssertionError("there was no welcome")


async def test_a_first_connection_is_tried_again_if_the_server_says_so() -> None:
    async def first(peer: Peer) -> None:
        await peer.frame("hello")
        await peer.error("busy", after=300, fatal=True)
        await peer.socket.close(CloseCode.BUSY)

    async def second(peer: Peer) -> None:
        await peer.welcome()
        await stays(peer)

    now = asyncio.get_running_loop().time
    async with playing(first, second) as server:
        begun = now()
        async with connect(server.url) as client:
            assert client.session == "s1"
            assert now() - begun > 0.3


@pytest.mark.parametrize("code", FINAL)
async def test_a_final_code_is_raised_after_what_came_before(code: CloseCode) -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, *numbers(2))
        await peer.frame("message")
        await peer.socket.close(code, "in other words")

    async with playing(scene) as server, connect(server.url) as client:
        sent = await client.send("hello")
        with pytest.raises(ClosedByServer):
            await sent.acked()
        source = client.events()
        assert len(await take(source, 2)) == 2
        with pytest.raises(ClosedByServer) as closed:
            await anext(source)
        assert (closed.value.code, closed.value.reason) == (code, "in other words")
        for call in (client.send("hello"), client.ping(), client.cancel()):
            with pytest.raises(ClosedByServer):
                await call


async def test_a_final_code_at_the_door_is_raised_at_once() -> None:
    async def scene(peer: Peer) -> None:
        hello = await peer.frame("hello")
        assert hello["token"] == "wrong"
        await peer.error("not_authenticated", fatal=True)
        await peer.socket.close(CloseCode.NOT_AUTHENTICATED)

    async with playing(scene) as server:
        with pytest.raises(ClosedByServer, match=r"not_authenticated: because \(4401\)"):
            async with connect(server.url, token="wrong"):
                raise AssertionError("nobody was let in")


@pytest.mark.parametrize("code", [*AGAIN, 1001, 1011, 4999])
async def test_a_client_comes_back_after_any_other_code(code: int) -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.socket.close(code)

    async def second(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, *numbers(1))
        await stays(peer)

    async with playing(first, second) as server, connect(server.url) as client:
        assert len(await take(client.events(), 1)) == 1


async def test_a_server_that_goes_away_says_how_long() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await peer.bye(CloseCode.GOING_AWAY, reconnect=True, after_ms=400)

    async def second(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, *numbers(1))
        await stays(peer)

    now = asyncio.get_running_loop().time
    async with playing(first, second) as server, connect(server.url) as client:
        begun = now()
        await take(client.events(), 1)
        assert now() - begun > 0.4


async def test_a_bye_for_good_is_final_whatever_the_code() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await peer.bye(CloseCode.GOING_AWAY, reconnect=False, reason="moved")

    async with playing(scene) as server, connect(server.url) as client:
        with pytest.raises(ClosedByServer, match=r"moved \(1012\)"):
            await anext(client.events())


async def test_events_end_when_all_is_done() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, *numbers(2))
        await peer.socket.close(CloseCode.DONE)

    async with playing(scene) as server, connect(server.url) as client:
        assert len([item async for item in client.events()]) == 2
        with pytest.raises(Closed):
            await client.send("hello")


async def test_events_end_when_the_client_ended_the_session() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        end = await peer.frame("end")
        await peer.ack(end["n"])
        await peer.socket.close(CloseCode.SESSION_ENDED)

    async with playing(scene) as server, connect(server.url) as client:
        await (await client.end()).acked()
        assert [item async for item in client.events()] == []


async def test_a_server_that_stays_away_is_given_up_after_the_time_that_was_set() -> None:
    async def welcoming(socket: ServerConnection) -> None:
        await Peer(socket).welcome()
        await socket.wait_closed()

    lost: list[str | None] = []
    server = await serve(welcoming, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL])
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with connect(url, give_up_after=0.5, on_state=lost.append) as client:
        server.close()
        await server.wait_closed()
        sent = await client.send("hello")
        with pytest.raises(Unreachable, match=r"connection refused, given up after 0.5 seconds"):
            await sent.acked()
    assert lost[:3] == [None, "connection closed (1001)", "connection refused"]


async def test_a_server_that_shuts_the_door_later_is_final() -> None:
    async def welcoming(socket: ServerConnection) -> None:
        await Peer(socket).welcome()
        door.append("shut")
        await socket.close(CloseCode.GOING_AWAY)

    def at_the_door(socket: ServerConnection, _: Request) -> Response | None:
        return socket.respond(HTTPStatus.FORBIDDEN, "") if door else None

    door: list[str] = []
    async with serve(welcoming, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL], process_request=at_the_door) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(url) as client:
            with pytest.raises(Unreachable, match="HTTP 403"):
                await anext(client.events())


def test_attempts_come_further_and_further_apart() -> None:
    for least, pause in zip((0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5), backoff(), strict=False):
        assert least <= pause <= 2 * least


async def test_nothing_is_left_running_after_the_client() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await peer.events(1, events.toast("hello"))
        await stays(peer)

    async with playing(scene) as server:
        before = asyncio.all_tasks()
        async with connect(server.url) as client:
            async for _ in client.events():
                break
            await client.send("hello")
            assert asyncio.all_tasks() > before
        # the socket's own tasks, the server's end included, go with the connection
        left = asyncio.all_tasks() - before
        assert not left or await asyncio.wait(left)
        with pytest.raises(Closed):
            await client.send("hello")
        assert [item async for item in client.events()] == []
