"""The agent that asks a language model: what it streams, calls, bounds, and lets go of when it is stopped."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.runtime.loading import load
from tests.conftest import StartServer
from tests.handlers.endpoint import Endpoint, Reply, calls, delta, words
from tests.support.server import ROOT
from tests.support.wire import Frame, WireClient, assert_turns_end_once, ends, is_a, placed, transcript

AGENTS = {name: (ROOT / "handlers" / f"{name}.py").read_text() for name in ("echo", "llm")}
SLOW = 60.0
WITHIN = 20.0


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    async with Endpoint() as made:
        yield made


@asynccontextmanager
async def talking(server: StartServer, endpoint: Endpoint, **env: str) -> AsyncIterator[WireClient]:
    """A client of a new server whose model is at the endpoint."""
    env = {"PARLEY_LLM_BASE_URL": endpoint.url, "PARLEY_LLM_MODEL": "small", "NO_PROXY": "127.0.0.1"} | env
    parley = await asyncio.to_thread(server, AGENTS, env=env)
    async with await WireClient.connect(parley.ws_url) as client:
        await client.hello(agent="llm")
        yield client
    assert_turns_end_once(client.frames)


async def say(client: WireClient, text: str) -> str:
    """Say something; the turn it made."""
    await client.count("message", content=text)
    return str((await client.collect(is_a("ack")))[-1]["turn"])


async def talk(client: WireClient, text: str) -> list[Frame]:
    """Say something; all frames up to the turn's end."""
    await client.count("message", content=text)
    return await client.collect(ends(), SLOW)


def shows(text: str) -> Callable[[Frame], bool]:
    return lambda frame: any(placed_.event.get("delta") == text for placed_ in placed([frame]))


def steps(frames: list[Frame]) -> list[tuple[str, Any, str]]:
    """Name, arguments and result of each tool call."""
    made: dict[str, list[str]] = {}
    for _, _, _, _, event in placed(frames):
        match event:
            case {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": name}:
                made[call] = [name, "", ""]
            case {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": text}:
                made[call][1] += text
            case {"type": "TOOL_CALL_RESULT", "toolCallId": call, "content": text}:
                made[call][2] = text
    return [(name, json.loads(arguments), result) for name, arguments, result in made.values()]


async def test_words_are_shown_as_they_come_and_the_model_hears_the_conversation(
    server: StartServer, endpoint: Endpoint
) -> None:
    first = Reply(words("Gr", finish=None), words("üß dich", " 🧿"))
    endpoint.will(first, Reply(words("Again.")))
    async with talking(server, endpoint, PARLEY_LLM_API_KEY="a key", OPENAI_API_KEY="another") as client:
        await say(client, "hello")
        await client.collect(shows("Gr"))  # while the model is not done
        first.go_on.set()
        await client.collect(ends())
        await talk(client, "and now?")
    said = [("user", "hello"), ("assistant", "Grüß dich 🧿"), ("user", "and now?"), ("assistant", "Again.")]
    assert transcript(client.frames) == said
    for request, heard in zip(endpoint.requests, (said[:1], said[:3]), strict=True):
        assert (request["model"], request["stream"]) == ("small", True)
        assert request["messages"][0]["role"] == "system"
        assert [(m["role"], m["content"]) for m in request["messages"][1:]] == heard
    assert endpoint.keys == ["Bearer a key"] * 2


async def test_tool_calls_are_steps_and_their_results_go_back(server: StartServer, endpoint: Endpoint) -> None:
    asked = [
        ("calculator", '{"input": "6 * 7"}'),
        ("calculator", '{"input": "__import__(\'os\')"}'),
        ("rm", "{}"),
        ("calculator", '{"input": 6'),
    ]
    endpoint.will(Reply([*words("Let me see.", finish=None), *calls(*asked)]), Reply(words("42.")))
    async with talking(server, endpoint, OPENAI_API_KEY="not for others") as client:
        made = steps(await talk(client, "how much is 6 * 7?"))
    assert made[0] == ("calculator", {"input": "6 * 7"}, "42")
    assert made[3][:2] == ("calculator", {"input": '{"input": 6'})  # shown as it came
    assert ["error" in result for _, _, result in made] == [False, True, True, True]
    assert [text for role, text in transcript(client.frames) if role == "assistant"] == ["Let me see.", "42."]
    *_, said, one, two, three, four = endpoint.requests[1]["messages"]
    assert said["content"] == "Let me see."
    assert [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in said["tool_calls"]] == [
        (f"call{n}", name, arguments) for n, (name, arguments) in enumerate(asked)
    ]
    assert one == {"role": "tool", "tool_call_id": "call0", "content": "42"}
    assert [m["tool_call_id"] for m in (two, three, four)] == ["call1", "call2", "call3"]
    assert all(m["content"].startswith("error: ") for m in (two, three, four))
    assert endpoint.keys == ["Bearer none"] * 2


async def test_what_goes_wrong_is_said_in_words_and_the_next_message_is_answered(
    server: StartServer, endpoint: Endpoint
) -> None:
    again = [Reply(calls(("calculator", '{"input": "1"}'))) for _ in range(8)]
    cases = [
        ([Reply(status=401)], "HTTP status 401"),
        ([Reply(status=500)], "HTTP status 500"),
        ([Reply([*words("Half", finish=None), {"error": {"message": "overloaded"}}])], "reports an error"),
        ([Reply(words("Half", finish=None), end="drop")], "went away"),
        ([Reply(words("Half", finish=None))], "broke off"),
        ([Reply([*words("Half", finish=None), *calls(("calculator", "{}"))[:1]])], "broke off"),
        ([Reply(words("Half", finish="length"))], "the model's limit"),
        ([Reply(words())], "said nothing"),
        ([Reply(words("x" * 300_000))], "said too much"),
        ([Reply(calls(*[("calculator", "{}")] * 17))], "said too much"),
        (again, "8 times"),
    ]
    async with talking(server, endpoint) as client:
        for replies, expected in cases:
            endpoint.will(*replies)
            frames = await talk(client, "hello")
            texts = [text for role, text in transcript(frames) if role == "assistant"]
            assert expected in texts[-1], expected
            assert texts[:-1] in ([], ["Half"]), expected
            assert not endpoint.replies, expected
            assert "sk-secret" not in str(frames)
        endpoint.will(Reply([*words("Well", finish=None), {**delta(), "choices": []}, delta("stop")]))
        assert transcript(await talk(client, "hello"))[-1] == ("assistant", "Well")


async def test_a_stop_closes_the_request(server: StartServer, endpoint: Endpoint) -> None:
    silent, stalled = Reply(end="stall"), Reply(words("Well", finish=None), end="stall")
    endpoint.will(silent, stalled, Reply(words("Here again.")))
    async with talking(server, endpoint) as client:
        for reply in (silent, stalled):
            turn = await say(client, "hello")
            async with asyncio.timeout(WITHIN):
                await reply.asked.wait()
            if reply is stalled:
                await client.collect(shows("Well"))
            assert not reply.gone.is_set()
            await client.count("cancel", turn=turn)
            (last,) = [p.event for p in placed(await client.collect(ends(turn))) if p.event["type"] == "RUN_ERROR"]
            assert last["code"] == "cancelled"
            async with asyncio.timeout(WITHIN):
                await reply.gone.wait()
        assert transcript(await talk(client, "hello"))[-1] == ("assistant", "Here again.")
    assert ("assistant", "Well") in transcript(client.frames)


async def test_a_stream_that_stalls_is_given_up(server: StartServer, endpoint: Endpoint) -> None:
    stalled = Reply(words("Well", finish=None), end="stall")
    endpoint.will(stalled)
    async with talking(server, endpoint, PARLEY_LLM_TIMEOUT="1") as client:
        said = transcript(await talk(client, "hello"))
        assert said[-2:] == [("assistant", "Well"), ("assistant", "The model's server was silent for 1 s.")]
        async with asyncio.timeout(WITHIN):
            await stalled.gone.wait()


# ---- without a server


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the agent and another, in an environment that says nothing of a model."""
    for name in ("BASE_URL", "MODEL", "API_KEY", "TIMEOUT"):
        monkeypatch.delenv(f"PARLEY_LLM_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "handlers").mkdir()
    for name, source in AGENTS.items():
        (tmp_path / "handlers" / f"{name}.py").write_text(source)
    return tmp_path / "handlers"


def test_it_is_offered_only_when_configured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_LLM_MODEL", "small")
    monkeypatch.setenv("PARLEY_LLM_BASE_URL", "")
    registry = load(folder)
    assert list(registry.agents) == ["echo"]
    assert "PARLEY_LLM_BASE_URL" in registry.not_offered["llm"]
    (folder.parent / ".env").write_text("PARLEY_LLM_BASE_URL=http://127.0.0.1:9/v1\n")
    monkeypatch.delenv("PARLEY_LLM_BASE_URL")
    assert sorted(load(folder).agents) == ["echo", "llm"]


@pytest.fixture
def llm(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The agent's module."""
    monkeypatch.setenv("PARLEY_LLM_MODEL", "small")
    monkeypatch.setenv("PARLEY_LLM_BASE_URL", "http://127.0.0.1:9/v1")
    load(folder)
    return sys.modules["parley_handlers.llm"]


def test_the_calculator_calculates_and_does_nothing_else(llm: Any) -> None:
    sums = {"1 + 2 * 3": "7", " (0.1 + 0.2)": "0.3", "-7 / 2": "-3.5", "2 ** 64": "18446744073709551616", "100": "100"}
    sums |= {"2 ** 0.5": "1.414213562373095048801688724", "1e3 - .5": "999.5", "+" * 90 + "1": "1"}
    assert {expression: llm.calculate(expression) for expression in sums} == sums
    refused = ["9 ** 9 ** 9", "1 / 0", "0 ** 0", "10 ** 400", "(-8) ** 0.5", "1e999", "True", "'a' * 9", "f(1)", "[].x"]
    refused += ["a", "1 if 1 else 2", "1 < 2", "", "(", "(" * 199, "-" * 199, "1" * 201, "1;2", "x := 1", "lambda: 1"]
    refused += ["\x00", "9" * 199, "__import__('os').getcwd()", "1 << 9", "7 // 2", "7 % 2", "~1", "1j", "...", "None"]
    for expression in refused:
        with pytest.raises(llm.ToolError):
            llm.calculate(expression)
