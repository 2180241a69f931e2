"""Who may come in: tokens, users, hosts, origins and numbers."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from websockets.asyncio.client import connect

from app.errors import ConfigError
from app.gateway.auth import Authenticator, AuthError
from app.gateway.origin import OriginPolicy
from tests.gateway.conftest import Gates, Settle
from tests.gateway.gate import Gate, until
from tests.support.wire import WireClient

SECRET = "a secret of more than thirty-two bytes, and of more than sixty-four"


def token(secret: str = SECRET, **claims: Any) -> str:
    members = {"sub": "ada", "exp": int(time.time()) + 600} | claims
    return jwt.encode({name: value for name, value in members.items() if value is not None}, secret, "HS256")


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


# ---- tokens


async def test_a_token_in_the_header_or_in_hello_names_the_user(gates: Gates) -> None:
    gate = await gates.open(auth_jwt_secret=SECRET)
    async with await gate.connect(headers=bearer(token(sub="ada"))) as client:
        assert (await client.hello())["user"] == "ada"
    async with await gate.connect() as client:
        assert (await client.hello(token=token(sub="bob")))["user"] == "bob"
    async with await gate.connect(headers={"Authorization": "Basic eDp5"}) as client:
        assert (await client.hello(token=token(sub="cy")))["user"] == "cy"


async def test_no_token_and_a_bad_token_are_refused(gates: Gates) -> None:
    gate = await gates.open(auth_jwt_secret=SECRET)
    for hello in ({}, {"token": "nonsense"}):
        async with await gate.connect() as client:
            await client.send("hello", client="somebody", **hello)
            assert (await client.closed())[0] == 4401
            assert (client.frames[-1]["code"], client.frames[-1]["fatal"]) == ("not_authenticated", True)


async def test_a_session_belongs_to_its_user(gates: Gates) -> None:
    gate = await gates.open(auth_jwt_secret=SECRET)
    async with await gate.connect() as ada, await gate.connect() as bob:
        session = (await ada.hello(token=token(sub="ada")))["session"]
        await bob.send("hello", client="somebody", token=token(sub="bob"), session=session)
        assert (await bob.closed())[0] == 4403
        assert bob.frames[-1]["code"] == "not_yours"
        assert "ada" not in bob.raw[-1]
        async with await gate.connect() as again:
            assert (await again.hello(token=token(sub="ada"), session=session))["resumed"] is True


async def test_a_token_that_expires_closes_its_connection(gates: Gates) -> None:
    gate = await gates.open(auth_jwt_secret=SECRET)
    async with await gate.connect() as client:
        await client.hello(token=token(exp=int(time.time()) - 28))  # 30 s are forgiven
        assert await client.closed() == (4401, "not authenticated, or token expired")
        assert client.frames[-1]["code"] == "token_expired"


async def test_a_user_with_too_many_sessions(gates: Gates) -> None:
    gate = await gates.open(auth_jwt_secret=SECRET, max_sessions_per_user=1)
    async with await gate.connect() as one, await gate.connect() as two:
        await one.hello(token=token())
        await two.send("hello", client="somebody", token=token())
        assert (await two.closed())[0] == 4403
        assert two.frames[-1]["code"] == "too_many_sessions"


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"sub": None}, "sub"),
        ({"sub": ""}, "1 to 256"),
        ({"sub": "x" * 257}, "1 to 256"),
        ({"sub": 7}, "ubject"),
        ({"sub": "anonymous"}, "anonymous"),
        ({"exp": None}, "exp"),
        ({"exp": 1}, "expired"),
        ({"exp": "soon"}, "exp"),
        ({"iss": "another"}, "ssuer"),
        ({"iss": None}, "iss"),
        ({"aud": "another"}, "udience"),
        ({"aud": None}, "aud"),
    ],
)
def test_claims_that_are_refused(settle: Settle, claims: dict[str, Any], words: str) -> None:
    authenticator = Authenticator(settle(auth_jwt_secret=SECRET, auth_issuer="me", auth_audience="parley"))
    good = {"iss": "me", "aud": "parley"}
    assert authenticator.identify(None, token(**good)).user == "ada"
    with pytest.raises(AuthError, match=words):
        authenticator.identify(None, token(**good | claims))


def test_tokens_that_are_refused(settle: Settle) -> None:
    authenticator = Authenticator(settle(auth_jwt_secret=SECRET))
    claims = {"sub": "ada", "exp": int(time.time()) + 600}
    deep = jwt.utils.base64url_encode(b"[" * 12_000).decode()
    for bad in (
        token(secret="another secret of more than thirty-two"),
        jwt.encode(claims, None, algorithm="none"),
        jwt.encode(claims, SECRET, algorithm="HS512"),
        token(aud="somebody"),  # it is meant for somebody, and we do not know to be that
        f"{deep}.{deep}.x",
        "",
        "..",
        "\udcff",
        "é.é.é",
    ):
        with pytest.raises(AuthError):
            authenticator.identify(None, bad)


def test_an_expiry_beyond_all_reckoning_is_no_fault(settle: Settle) -> None:
    authenticator = Authenticator(settle(auth_jwt_secret=SECRET))
    assert authenticator.identify(None, token(exp=10**400)).expires


def test_a_key_set_is_not_taken_for_no_sign_in(settle: Settle) -> None:
    with pytest.raises(ConfigError, match="PARLEY_AUTH_JWKS"):
        Authenticator(settle(auth_jwks="https://example.com/keys"))


# ---- hosts and origins


async def test_a_page_from_elsewhere_is_refused_and_its_browser_is_told(gate: Gate) -> None:
    async with await gate.connect(headers={"Origin": "https://evil.example"}) as client:
        assert await client.closed() == (4403, "not your session, origin or host refused")
        assert "PARLEY_ALLOWED_ORIGINS" in client.frames[-1]["message"]
    async with await gate.connect(headers={"Origin": f"http://127.0.0.1:{gate.port}"}) as client:
        await client.hello()


async def test_a_name_that_is_not_ours_is_refused(gate: Gate) -> None:
    socket = await connect(
        f"ws://evil.example:{gate.port}/ws", host="127.0.0.1", port=gate.port, proxy=None, compression=None
    )
    async with WireClient(socket) as client:
        assert (await client.closed())[0] == 4403
        assert "PARLEY_ALLOWED_HOSTS" in client.frames[-1]["message"]


@pytest.mark.parametrize(
    ("settings", "host", "origin", "passes"),
    [
        ({}, "127.0.0.1:8000", None, True),
        ({}, "localhost", None, True),
        ({}, "LocalHost:1", None, True),
        ({}, "[::1]:8000", None, True),
        ({}, "127.9.9.9", None, True),
        ({}, None, None, False),
        ({}, "", None, False),
        ({}, "evil.example", None, False),
        ({}, "localhost.evil.example", None, False),
        ({}, "127.0.0.1@evil.example", None, False),
        ({}, "evil@localhost", None, False),
        ({}, "localhost:port", None, False),
        ({}, "[::1", None, False),
        ({}, "192.168.1.1", None, False),
        ({"allowed_hosts": ("chat.example",)}, "chat.example", None, True),
        ({"allowed_hosts": ("chat.example",)}, "chat.example:8443", None, True),
        ({"allowed_hosts": ("chat.example",)}, "localhost", None, True),
        ({"allowed_hosts": ("chat.example:8443",)}, "chat.example:8443", None, True),
        ({"allowed_hosts": ("chat.example:8443",)}, "chat.example", None, False),
        ({"allowed_hosts": ("*",)}, "evil.example", None, True),
        ({"host": "10.0.0.7"}, "chat.example", None, True),
        ({"host": "10.0.0.7", "allowed_hosts": ("chat.example",)}, "evil.example", None, False),
        ({"host": "10.0.0.7", "allowed_hosts": ("chat.example",)}, "10.0.0.7:80", None, True),
        ({}, "localhost:8000", "http://localhost:8000", True),
        ({}, "localhost:8000", "https://localhost:8000", True),
        ({}, "localhost:8000", "http://localhost:8001", False),
        ({}, "localhost:8000", "http://127.0.0.1:8000", False),
        ({}, "localhost:8000", "null", False),
        ({}, "localhost:8000", "", False),
        ({}, "localhost:8000", "http://[", False),
        ({"host": "10.0.0.7"}, "chat.example", "https://chat.example", True),
        ({"host": "10.0.0.7"}, "chat.example:443", "https://chat.example", True),
        ({"host": "10.0.0.7"}, "chat.example", "https://chat.example:444", False),
        ({"host": "10.0.0.7"}, "chat.example", "https://evil.example", False),
        ({"allowed_origins": ("https://app.example",)}, "localhost", "https://app.example", True),
        ({"allowed_origins": ("https://app.example/",)}, "localhost", "https://app.example", True),
        ({"allowed_origins": ("https://app.example",)}, "localhost", "http://app.example", False),
        ({"allowed_origins": ("https://app.example",)}, "localhost", "https://app.example:444", False),
        ({"allowed_origins": ("*",)}, "localhost", "null", True),
    ],
)
def test_hosts_and_origins(
    settle: Settle, settings: dict[str, Any], host: str | None, origin: str | None, *, passes: bool
) -> None:
    assert (OriginPolicy(settle(**settings)).refusal(host, origin) == "") is passes


# ---- numbers


async def test_a_worker_with_all_its_connections_is_busy(gates: Gates) -> None:
    gate = await gates.open(max_connections=1)
    async with await gate.join():
        async with await gate.connect() as second:
            assert (await second.closed())[0] == 1013
            bye = second.frames[-1]
            assert (bye["type"], bye["reason"], bye["reconnect"]) == ("bye", "busy", True)
            assert bye["after_ms"] > 0
        assert gate.endpoint.connections == 1
    await until(lambda: gate.endpoint.connections == 0, "the place is free")
    async with await gate.join():
        pass


async def test_an_address_with_all_its_connections_is_busy(gates: Gates) -> None:
    gate = await gates.open(max_connections_per_address=2)
    async with await gate.join(), await gate.join(), await gate.connect() as third:
        assert (await third.closed())[0] == 1013
    await until(lambda: gate.endpoint.connections == 0, "the places are free")
    async with await gate.join():
        pass
