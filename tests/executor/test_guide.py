"""docs/sync-async.md: every Python block is run, and what it prints or answers is what stands below it."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import NamedTuple

import pytest

from tests.conftest import StartServer
from tests.support.server import ROOT
from tests.support.wire import WireClient, ends, transcript

pytestmark = pytest.mark.timeout(120)

PAGE = (ROOT / "docs" / "sync-async.md").read_text()


class Example(NamedTuple):
    """A Python block, what its first line says is done with it, and what must come of it."""

    info: str
    source: str
    outcome: str


EXAMPLES = [
    Example(*found)
    for found in re.findall(r"^```python (.*)\n((?:.*\n)*?)```\n\n```text\n((?:.*\n)*?)```$", PAGE, re.MULTILINE)
]
AGENTS = {each.info.removeprefix("agent "): each for each in EXAMPLES if each.info.startswith("agent ")}
SCRIPTS = [each for each in EXAMPLES if each.info == "run"]


def test_every_block_is_an_example() -> None:
    assert PAGE.count("```python") == len(EXAMPLES) == len(AGENTS) + len(SCRIPTS) > 10


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_script(script: Example) -> None:
    command = [sys.executable, "-W", "error", "-c", script.source]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == (script.outcome, "")


async def test_agents(server: StartServer) -> None:
    url = server({name: agent.source for name, agent in AGENTS.items()}).ws_url
    said = {name: await answer(url, name) for name in AGENTS}
    assert said == {name: agent.outcome for name, agent in AGENTS.items()}


async def answer(url: str, agent: str) -> str:
    """The messages an agent answers `hello` with, a line each."""
    async with await WireClient.connect(url) as client:
        await client.hello(agent=agent)
        await client.count("message", content="hello")
        await client.collect(ends())
        return "".join(f"{text}\n" for role, text in transcript(client.frames) if role == "assistant")
