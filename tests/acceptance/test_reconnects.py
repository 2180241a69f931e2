"""Two thousand connections are cut at once: a load balancer that restarts, a network that comes back."""

from __future__ import annotations

import asyncio
import json
import resource
import sys

import pytest

from tests.conftest import StartServer
from tests.support.server import ROOT

CONNECTIONS = 2_000
WITHIN = 10.0
ECHO = """
import app as cl

@cl.on_message
async def main(message):
    await cl.Message(message.content).send()
"""


@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_two_thousand_that_were_cut_are_served_again(server: StartServer) -> None:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert files > CONNECTIONS + 200, f"`ulimit -n` is {files}: {CONNECTIONS} connections need more"
    echo = server({"echo": ECHO}, program=("app",))
    crowd = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.acceptance.crowd", echo.ws_url, str(CONNECTIONS),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, errors = await crowd.communicate()
    assert crowd.returncode == 0, errors.decode()[-2_000:]
    seconds = json.loads(said)["seconds"]
    assert seconds < WITHIN, f"the last of them was answered after {seconds} s"
