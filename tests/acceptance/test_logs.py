"""What the logs hold: JSON, session, turn and worker; never a secret, nor what people write."""

from __future__ import annotations

import json
import time

import jwt

from tests.conftest import StartServer
from tests.support.wire import WireClient, ends

SECRET = "a secret of at least thirty-two bytes"
AGENT = """
import structlog
import app as cl

@cl.on_message
async def main(message):
    structlog.get_logger("agent").info("at_work")
    if message.content.startswith("fail"):
        raise ValueError("what went wrong")
    await cl.Message("answer-words " + message.content).send()
"""


async def test_logs_are_json_and_hold_neither_secrets_nor_words(server: StartServer) -> None:
    with_tokens = server({"agent": AGENT}, env={"PARLEY_AUTH_JWT_SECRET": SECRET})
    token = jwt.encode({"sub": "ann", "exp": time.time() + 60}, SECRET, algorithm="HS256")
    async with await WireClient.connect(with_tokens.ws_url, headers={"Authorization": f"Bearer {token}"}) as client:
        welcome = await client.hello()
        assert welcome["user"] == "ann"
        await client.count("message", content="question-words")
        await client.collect(ends())
        await client.count("message", content="fail")
        await client.collect(ends())
    with_tokens.terminate()
    text = with_tokens.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    for hidden in (SECRET, token, "question-words", "answer-words"):
        assert hidden not in text
    for line in [line for line in lines if line["event"] == "at_work"]:
        assert (line["session"], line["worker"]) == (welcome["session"], welcome["worker"])
        assert line["turn"]
    (failed,) = [line for line in lines if line["event"] == "handler_failed"]
    assert "ValueError: what went wrong" in failed["exception"]
    assert failed["reference"] in str(client.frames[-1])
