"""The HTTP routes: what they answer, whom they refuse, and pushes all the way to the clients."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import jwt
import pytest

from tests.conftest import StartServer
from tests.gateway.conftest import Gates
from tests.gateway.gate import Gate, Owner, until
from tests.support.server import ROOT, ParleyServer
from tests.support.valkey import ValkeyProcess
from tests.support.wire import Frame, WireClient, assert_gapless, assert_turns_end_once, ends, is_a, transcript

SECRET = "a secret of more than thirty-two bytes, and of more than sixty-four"
KEY = "the key of those who push"

Open = Callable[[str], httpx.AsyncClient]


@pytest.fixture
async def http() -> AsyncIterator[Open]:
    """Clients of a server at a URL."""
    async with AsyncExitStack() as stack:

        def client(url: str) -> httpx.AsyncClient:
            made = httpx.AsyncClient(base_url=url, trust_env=False, timeout=20)
            stack.push_async_callback(made.aclose)
            return made

        yield client


def url(gate: Gate) -> str:
    return f"http://127.0.0.1:{gate.port}"


def signed(user: str, **claims: Any) -> dict[str, str]:
    members = {"sub": user, "exp": int(time.time()) + 600} | claims
    return {"Authorization": f"Bearer {jwt.encode(members, SECRET, 'HS256')}"}


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


async def session_of(gate: Gate, user: str = "anonymous", agent: str = "echo") -> str:
    session = f"session-of-{user}-{time.monotonic_ns()}"
    await gate.store.create(session, user, agent, "")
    return session


def messages(session: str) -> str:
    return f"/sessions/{session}/messages"


def refused(answer: httpx.Response, status: int, code: str, *words: str) -> None:
    """The answer is a refusal in the words of the API."""
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert set(answer.json()) == {"code", "message"}
    for word in words:
        assert word in answer.json()["message"]


# ---- agents and documents


async def test_the_agents_and_the_default(gate: Gate, http: Open) -> None:
    answer = await http(url(gate)).get("/agents")
    agents = [{"name": "echo", "description": ""}, {"name": "greeter", "description": ""}]
    assert (answer.status_code, answer.json()) == (200, {"agents": agents, "default": "echo"})


async def test_what_an_agent_offers_who_asks(gate: Gate, http: Open) -> None:
    client = http(url(gate))
    answer = await client.get("/agents/greeter")
    offered = {
        "profiles": [{"name": "greeter for anonymous"}],
        "starters": [{"label": "Hi", "message": "I am anonymous at greeter"}],
    }
    assert (answer.status_code, answer.json()) == (200, {"name": "greeter", "description": "", **offered})
    missing = await client.get("/agents/nobody")
    assert (missing.status_code, missing.json()["code"]) == (404, "no_such_agent")


async def test_the_documents(server: StartServer, http: Open) -> None:
    client = http(server().url)
    asyncapi = await client.get("/asyncapi.json")
    assert asyncapi.headers["content-type"] == "application/json"
    assert asyncapi.json()["asyncapi"] == "3.0.0"
    openapi = (await client.get("/openapi.json")).json()
    assert {"/agents", "/sessions", "/sessions/{session}", "/sessions/{session}/messages"} <= set(openapi["paths"])
    push = openapi["paths"]["/sessions/{session}/messages"]["post"]
    body = push["requestBody"]["content"]["application/json"]["schema"]
    assert set(body["properties"]) == {"content", "author", "metadata", "as"}
    assert body["required"] == ["content"]
    assert "$ref" not in json.dumps(body)
    assert push["security"] == [{"HTTPBearer": []}]
    agents = (await client.get("/agents")).json()
    assert {"name": "echo", "description": "Says back what you said."} in agents["agents"]
    # FastAPI's own pages of documentation are made of other hosts' scripts
    found = [await client.get(path, follow_redirects=True) for path in ("/docs", "/redoc")]
    assert [answer.status_code for answer in found] == [404, 404]


def test_the_refusals_are_listed_in_the_documentation() -> None:
    source = "".join(path.read_text() for path in ROOT.glob("app/gateway/*.py"))
    used = set(re.findall(r"""(?:Refusal|cls|:) ?\((\d{3}), "(\w+)\"""", source))
    used |= {("400", "bad_json"), ("422", "bad_frame")}  # the codec's
    section = (ROOT / "docs" / "protocol.md").read_text().split("## HTTP\n")[1].split("\n## ")[0]
    assert used <= set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", section, re.MULTILINE))


# ---- whose page, which host


@pytest.mark.parametrize(
    "headers", [{"Host": "rebound.example"}, {"Origin": "https://elsewhere.example"}, {"Origin": "null"}]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/agents"), ("GET", "/sessions"), ("DELETE", "/sessions/x"), ("POST", "/sessions/x/messages")],
)
async def test_another_page_or_another_name_is_refused(
    gate: Gate, http: Open, method: str, path: str, headers: dict[str, str]
) -> None:
    refused(await http(url(gate)).request(method, path, headers=headers), 403, "origin_refused", "PARLEY_ALLOWED_")


async def test_the_servers_own_page_and_an_allowed_one_may(gates: Gates, http: Open) -> None:
    gate = await gates.open(allowed_origins=("https://elsewhere.example",))
    client = http(url(gate))
    for origin in (url(gate), "https://elsewhere.example"):
        assert (await client.get("/agents", headers={"Origin": origin})).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_what_a_page_can_send_without_asking_is_no_push(gate: Gate, http: Open, kind: str) -> None:
    session = await session_of(gate)
    headers = {"Content-Type": kind} if kind else {}
    answer = await http(url(gate)).post(messages(session), content=b'{"content": "x"}', headers=headers)
    refused(answer, 415, "not_json", "application/json")
    assert await gate.store.inbox(session) == []


# ---- sessions


async def test_the_callers_own_living_sessions_newest_first(gates: Gates, http: Open) -> None:
    gate = await gates.open(auth_jwt_secret=SECRET)
    client = http(url(gate))
    before = time.time() * 1000
    first = await session_of(gate, "ada")
    second = await session_of(gate, "ada", "greeter")
    await session_of(gate, "bob")
    ended = await session_of(gate, "ada")
    await (await Owner.of(gate.store, ended)).write(end=True)
    listed = (await client.get("/sessions", headers=signed("ada"))).json()["sessions"]
    assert [(s["id"], s["agent"]) for s in listed] == [(second, "greeter"), (first, "echo")]
    assert all(set(s) == {"id", "agent", "created"} for s in listed)
    assert before - 1000 < listed[1]["created"] <= listed[0]["created"] < time.time() * 1000 + 1000
    assert (await client.get("/sessions", headers=signed("nobody"))).json() == {"sessions": []}


async def test_who_did_not_sign_in_has_no_list(gates: Gates, gate: Gate, http: Open) -> None:
    await session_of(gate)
    answer = await http(url(gate)).get("/sessions")
    refused(answer, 401, "not_authenticated", "known by their ids")
    guarded = http(url(await gates.open(auth_jwt_secret=SECRET)))
    for headers in ({}, bearer("nonsense"), signed("ada", exp=1)):
        answer = await guarded.get("/sessions", headers=headers)
        refused(answer, 401, "not_authenticated")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_ending_a_session_is_an_input_and_may_be_repeated(gates: Gates, http: Open) -> None:
    gate = await gates.open(auth_jwt_secret=SECRET)
    client = http(url(gate))
    session = await session_of(gate, "ada")
    refused(await client.delete(f"/sessions/{session}", headers=signed("bob")), 403, "not_yours")
    refused(await client.delete(f"/sessions/{session}"), 401, "not_authenticated")
    refused(await client.delete("/sessions/unknown", headers=signed("ada")), 404, "no_such_session")
    refused(await client.delete(f"/sessions/{'x' * 300}", headers=signed("ada")), 404, "no_such_session")
    assert await gate.store.inbox(session) == []
    for _ in range(2):
        assert (await client.delete(f"/sessions/{session}", headers=signed("ada"))).status_code == 204
    inbox = await gate.store.inbox(session)
    assert {i.kind for i in inbox} == {"end"}
    await (await Owner.of(gate.store, session)).write(end=True)
    assert (await client.delete(f"/sessions/{session}", headers=signed("ada"))).status_code == 204
    refused(await client.delete(f"/sessions/{session}", headers=signed("bob")), 403, "not_yours")


async def test_an_anonymous_session_is_ended_by_who_knows_its_id(gate: Gate, http: Open) -> None:
    session = await session_of(gate)
    assert (await http(url(gate)).delete(f"/sessions/{session}")).status_code == 204
    assert [i.kind for i in await gate.store.inbox(session)] == ["end"]


# ---- pushes: what is kept, what is refused


async def test_a_push_is_kept_and_answered_with_its_place_and_its_message(gate: Gate, http: Open) -> None:
    session = await session_of(gate)
    client = http(url(gate))
    body = {"content": "built", "author": "CI", "metadata": {"run": 7}, "unknown": True}
    answer = await client.post(messages(session), json=body)
    assert answer.status_code == 202
    (kept,) = await gate.store.inbox(session)
    assert answer.json() == {"index": 1, "message": kept.target}
    assert (kept.kind, kept.turn) == ("push", "")
    assert json.loads(kept.body) == {"type": "push", "content": "built", "author": "CI", "metadata": {"run": 7}}
    answer = await client.post(messages(session), json={"content": "do it", "as": "user", "metadata": {"run": 8}})
    _, said = await gate.store.inbox(session)
    assert answer.json() == {"index": 2, "turn": said.turn}
    assert (said.kind, json.loads(said.body)) == (
        "message",
        {"type": "message", "content": "do it", "metadata": {"run": 8}},
    )


NO_PUSHES = [
    (b"{}", "content"),
    (b'{"content": 7}', "content"),
    (b'{"content": [{"type": "text", "text": "x"}]}', "content"),
    (b'{"content": [{"type": "dance"}], "as": "user"}', "content[0]"),
    (b'{"content": "x", "author": ""}', "author"),
    (b'{"content": "x", "author": "a", "as": "user"}', "author"),
    (b'{"content": "x", "metadata": []}', "metadata"),
    (b'{"content": "x", "as": "root"}', "as"),
    (b'{"content": "x", "metadata": {"a": "%s"}}' % (b"x" * 263_000), "262144"),
    (b"[]", "object"),
    (b'{"content": "x", "metadata": %s1%s}' % (b'{"a":' * 70, b"}" * 70), "64 levels"),
]


async def test_what_is_no_push_is_refused_naming_the_field(gates: Gates, http: Open) -> None:
    gate = await gates.open(max_frame_bytes=1_000_000)
    session = await session_of(gate)
    client = http(url(gate))
    for body, field in NO_PUSHES:
        answer = await client.post(messages(session), content=body, headers={"Content-Type": "application/json"})
        refused(answer, 422, "bad_frame", field)
    assert await gate.store.inbox(session) == []


async def test_what_is_no_json_or_has_no_good_key(gate: Gate, http: Open) -> None:
    session = await session_of(gate)
    client = http(url(gate))
    for body in (b"", b"{", b"\xff", b'{"content": NaN}', b'{"content": "\\ud800"}'):
        answer = await client.post(messages(session), content=body, headers={"Content-Type": "application/json"})
        refused(answer, 400, "bad_json")
    for key in ("", "x" * 256, "caf\u00e9", "tab\there"):
        headers = [(b"Idempotency-Key", key.encode("latin-1"))]
        answer = await client.post(messages(session), json={"content": "x"}, headers=headers)
        refused(answer, 400, "bad_key", "Idempotency-Key")
    assert await gate.store.inbox(session) == []


async def test_a_body_that_is_too_large(gates: Gates, http: Open) -> None:
    gate = await gates.open(max_frame_bytes=2048, inbox_bytes=1024)
    session = await session_of(gate)
    client = http(url(gate))
    refused(await client.post(messages(session), json={"content": "x" * 2048}), 413, "too_large", "MAX_FRAME_BYTES")

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    headers = {"Content-Type": "application/json"}
    refused(await client.post(messages(session), content=endless(), headers=headers), 413, "too_large")
    refused(await client.post(messages(session), json={"content": "x" * 1100}), 413, "too_large", "INBOX_BYTES")


async def test_a_client_that_leaves_in_the_middle_of_its_body(gate: Gate, caplog: pytest.LogCaptureFixture) -> None:
    session = await session_of(gate)
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port)
    head = f"POST {messages(session)} HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\nContent-Type: application/json\r\n"
    writer.write(head.encode() + b'Content-Length: 20\r\n\r\n{"content"')
    await writer.drain()
    await until(lambda: gate.server.server_state.tasks, "the request is being answered")
    writer.transport.abort()
    await until(lambda: not gate.server.server_state.tasks, "the request is over")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    assert await gate.store.inbox(session) == []


async def test_sessions_that_are_not_there_not_any_more_or_not_the_callers(gates: Gates, http: Open) -> None:
    gate = await gates.open(auth_jwt_secret=SECRET, push_key=KEY)
    client = http(url(gate))
    body = {"content": "x"}
    session = await session_of(gate, "ada")
    refused(await client.post(messages(session), json=body), 401, "not_authenticated")
    refused(await client.post(messages(session), json=body, headers=bearer("wrong")), 401, "not_authenticated")
    refused(await client.post(messages(session), json=body, headers=bearer(KEY[:-1])), 401, "not_authenticated")
    refused(await client.post(messages(session), json=body, headers=signed("bob")), 403, "not_yours")
    for who in (signed("ada"), bearer(KEY)):
        refused(await client.post(messages("unknown"), json=body, headers=who), 404, "no_such_session")
        refused(await client.post(messages("x" * 300), json=body, headers=who), 404, "no_such_session")
    assert await gate.store.inbox(session) == []
    for who in (signed("ada"), bearer(KEY)):
        assert (await client.post(messages(session), json=body, headers=who)).status_code == 202
    await (await Owner.of(gate.store, session)).write(end=True)
    refused(await client.post(messages(session), json=body, headers=signed("ada")), 410, "session_ended")


async def test_where_anonymous_use_is_open_so_are_pushes_but_not_with_a_wrong_key(gates: Gates, http: Open) -> None:
    gate = await gates.open(push_key=KEY)
    client = http(url(gate))
    session = await session_of(gate)
    for headers in ({}, bearer(KEY)):
        assert (await client.post(messages(session), json={"content": "x"}, headers=headers)).status_code == 202
    refused(
        await client.post(messages(session), json={"content": "x"}, headers=bearer("wrong")), 401, "not_authenticated"
    )
    elses = await session_of(gate, "ada")  # from a time when users signed in
    refused(await client.post(messages(elses), json={"content": "x"}), 403, "not_yours")
    assert (await client.post(messages(elses), json={"content": "x"}, headers=bearer(KEY))).status_code == 202


async def test_the_same_key_has_the_same_answer_and_another_body_conflicts(gate: Gate, http: Open) -> None:
    session = await session_of(gate)
    client = http(url(gate))
    key = {"Idempotency-Key": '"8e03978e-40d5-43dd-bc93-6894a57f9324"'}
    first = await client.post(messages(session), json={"content": "x", "author": "a"}, headers=key)
    again = await client.post(
        messages(session),
        content=b'{ "author":"a",  "content":"x" }',
        headers={**key, "Content-Type": "application/json; charset=utf-8"},
    )
    assert (again.status_code, again.content) == (first.status_code, first.content)
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    for other in ({"content": "y"}, {"content": "x", "as": "user"}):
        refused(await client.post(messages(session), json=other, headers=key), 409, "conflict", "Idempotency-Key")
    assert len(await gate.store.inbox(session)) == 1
    elsewhere = await session_of(gate)
    assert (await client.post(messages(elsewhere), json={"content": "y"}, headers=key)).status_code == 202


async def test_a_full_inbox_says_when_to_come_back(gates: Gates, http: Open) -> None:
    gate = await gates.open(inbox_size=1)
    session = await session_of(gate)
    client = http(url(gate))
    assert (await client.post(messages(session), json={"content": "x"})).status_code == 202
    answer = await client.post(messages(session), json={"content": "x"})
    refused(answer, 429, "busy", "PARLEY_INBOX_SIZE")
    assert answer.headers["retry-after"] == "1"
    # an end has a bound of its own
    assert (await client.delete(f"/sessions/{session}")).status_code == 204


async def test_a_store_that_is_full_says_when_to_come_back(
    gate: Gate, shared_valkey: ValkeyProcess, http: Open
) -> None:
    session = await session_of(gate)
    client = http(url(gate))
    with shared_valkey.client() as redis:
        redis.config_set("maxmemory", "1")
        try:
            answer = await client.post(messages(session), json={"content": "x"})
        finally:
            redis.config_set("maxmemory", "0")
    refused(answer, 503, "busy", "memory")
    assert answer.headers["retry-after"] == "2"


# ---- pushes: all the way

WAITS = """
import app as cl

@cl.on_message
async def main(message):
    answer = cl.Message()
    await answer.stream_token("on it")
    await cl.sleep(3600)

@cl.on_chat_end
async def end():
    await cl.Message("bye").send()
"""
ECHO = """
import app as cl

@cl.on_message
async def main(message):
    await cl.Message("Received: " + message.content).send()
"""


@pytest.fixture
def both(server: StartServer) -> ParleyServer:
    """A server that asks for tokens."""
    return server({"echo": ECHO, "waits": WAITS}, env={"PARLEY_AUTH_JWT_SECRET": SECRET, "PARLEY_PUSH_KEY": KEY})


async def ada(server: ParleyServer, agent: str) -> WireClient:
    client = await WireClient.connect(server.ws_url, headers=signed("ada"))
    await client.hello(agent=agent)
    return client


def outside(client: WireClient) -> list[Frame]:
    return [frame for frame in client.frames if frame["type"] == "events" and frame["turn"] is None]


async def test_a_push_shows_at_once_during_a_turn_and_once_under_its_key(both: ParleyServer, http: Open) -> None:
    client, api = await ada(both, "waits"), http(both.url)
    session = client.welcome["session"]
    await client.count("message", content="x")
    turn = (await client.collect(is_a("ack")))[-1]["turn"]
    await client.collect(lambda frame: "on it" in str(frame))
    body, key = {"content": "the build is done", "author": "CI"}, {"Idempotency-Key": "k1"}
    answers = [await api.post(messages(session), json=body, headers=bearer(KEY) | key) for _ in range(2)]
    assert answers[0].json() == answers[1].json()
    refused(await api.post(messages(session), json=body, headers=signed("bob") | key), 403, "not_yours")
    await client.collect(is_a("events", turn=None))
    (shown,) = outside(client)
    message = answers[0].json()["message"]
    assert shown["events"] == [
        {"type": "TEXT_MESSAGE_START", "messageId": message, "role": "assistant", "name": "CI"},
        {"type": "TEXT_MESSAGE_CONTENT", "messageId": message, "delta": "the build is done"},
        {"type": "TEXT_MESSAGE_END", "messageId": message},
    ]
    assert not any(ends(turn)(frame) for frame in client.frames)
    await client.count("cancel")
    await client.collect(ends(turn))
    assert len(outside(client)) == 1
    assert_gapless(client.frames)
    assert_turns_end_once(client.frames)
    await client.close()


async def test_as_the_user_it_is_a_turn_like_any_other(both: ParleyServer, http: Open) -> None:
    client, api = await ada(both, "echo"), http(both.url)
    body = {"content": "hello", "as": "user"}
    answer = await api.post(messages(client.welcome["session"]), json=body, headers=signed("ada"))
    await client.collect(ends(answer.json()["turn"]))
    assert transcript(client.frames) == [("user", "hello"), ("assistant", "Received: hello")]
    await client.count("message", content="the counter is the client's own")
    await client.collect(ends())
    await client.close()


async def test_a_push_nobody_is_there_to_see_is_there_for_who_comes(both: ParleyServer, http: Open) -> None:
    client, api = await ada(both, "echo"), http(both.url)
    session = client.welcome["session"]
    await client.close()
    answers = await asyncio.gather(
        *(api.post(messages(session), json={"content": f"p{n}"}, headers=signed("ada")) for n in range(50))
    )
    assert {answer.status_code for answer in answers} == {202}
    order = sorted(range(50), key=lambda n: answers[n].json()["index"])
    again = await WireClient.connect(both.ws_url, headers=signed("ada"))
    await again.hello(session=session)
    while len(transcript(again.frames)) < 50:
        await again.receive()
    assert [text for _, text in transcript(again.frames)] == [f"p{n}" for n in order]
    await again.close()


async def test_deleting_a_session_runs_its_end_and_closes_its_sockets(both: ParleyServer, http: Open) -> None:
    client, api = await ada(both, "waits"), http(both.url)
    session = client.welcome["session"]
    await client.count("message", content="x")
    await client.collect(lambda frame: "on it" in str(frame))
    listed = (await api.get("/sessions", headers=signed("ada"))).json()["sessions"]
    assert [s["id"] for s in listed] == [session]
    assert (await api.delete(f"/sessions/{session}", headers=signed("ada"))).status_code == 204
    assert (await client.closed())[0] == 4410
    assert transcript(client.frames)[-1] == ("assistant", "bye")
    assert (await api.delete(f"/sessions/{session}", headers=signed("ada"))).status_code == 204
    assert (await api.get("/sessions", headers=signed("ada"))).json() == {"sessions": []}
    refused(await api.post(messages(session), json={"content": "x"}, headers=bearer(KEY)), 410, "session_ended")


async def test_a_push_to_a_session_whose_worker_was_killed(both: ParleyServer, http: Open) -> None:
    client, api = await ada(both, "waits"), http(both.url)
    session = client.welcome["session"]
    await client.count("message", content="x")
    await client.collect(lambda frame: "on it" in str(frame))
    since = client.since
    await asyncio.to_thread(both.kill_group)
    await asyncio.to_thread(both.start)
    key = {"Idempotency-Key": "k1"}
    for _ in range(2):
        answer = await api.post(messages(session), json={"content": "p"}, headers=signed("ada") | key)
        assert answer.status_code == 202
    again = await WireClient.connect(both.ws_url, headers=signed("ada"))
    await again.hello(session=session, since=since)
    await again.collect(lambda frame: frame.get("attempt") == 2 and "on it" in str(frame))
    while not outside(again):
        await again.receive()
    await again.count("cancel")
    await again.collect(ends())
    assert_gapless(again.frames, since["seq"])
    assert len(outside(again)) == 1
    await again.close()
