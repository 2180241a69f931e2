"""The agent of the chaos suite: does a little of everything, and says only what `tests.chaos.workload` foretells."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Awaitable, Callable

from pydantic import BaseModel

import app as cl
from tests.chaos import workload
from tests.chaos.workload import PACE, Input


class Shared(BaseModel):
    """What all tabs of a session follow."""

    nonces: dict[str, int] = {}


shared = cl.state(Shared)


@cl.on_app_startup
async def explain() -> None:
    """Have SIGUSR1 say in the log what the worker is doing: for whoever looks into a run that went wrong."""
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, say_tasks)


def say_tasks() -> None:
    """Print each task and where it stands."""
    for task in asyncio.all_tasks():
        task.print_stack(file=sys.stderr)


@cl.on_chat_start
async def start() -> None:
    """Greet, as the session's first turn."""
    note(workload.START)
    await cl.Message(workload.greeting(cl.context.session.id)).send()


@cl.on_message
async def main(message: cl.Message) -> None:
    """Do what an input asks for. Each turn notes its nonce in `user_session`: none twice, none lost."""
    given = Input.of(message.content)
    note(given.nonce)
    await HANDLERS[given.kind](cl.context.session.id, given)


def note(nonce: str) -> None:
    """Add a nonce to those whose turns have ended."""
    cl.user_session["done"] = [*cl.user_session.get("done", []), nonce]


async def stream(session: str, given: Input) -> None:
    """Say words one by one."""
    said = cl.Message()
    for k in range(given.size):
        await said.stream_token(workload.word(session, given.nonce, k))
        await cl.sleep(PACE)
    await said.send()


async def thread(session: str, given: Input) -> None:
    """Say words that blocking code finds."""
    said = cl.Message()
    for k in range(given.size):
        await said.stream_token(await cl.make_async(found)(session, given.nonce, k))
    await said.send()


def found(session: str, nonce: str, k: int) -> str:
    """Take a while to find a word."""
    time.sleep(PACE)
    return workload.word(session, nonce, k)


async def sends(session: str, given: Input) -> None:
    """Say one message after the other."""
    for k in range(given.size):
        await cl.Message(workload.word(session, given.nonce, k)).send()
        await cl.sleep(PACE)


async def ask(session: str, given: Input, timeout: float = 120.0) -> None:
    """Ask, and say what was heard."""
    reply = await cl.AskUserMessage(workload.prompt(session, given.nonce), timeout=timeout).send()
    await cl.Message(workload.heard(session, given.nonce, reply["output"] if reply else None)).send()


async def wait(session: str, given: Input) -> None:
    """Ask what nobody answers."""
    await ask(session, given, workload.PATIENCE)


@cl.step(durable=True)
async def find(session: str, nonce: str, k: int) -> dict[str, str | int]:
    """Find a word once, in whichever attempt."""
    await cl.sleep(PACE)
    return {"word": workload.word(session, nonce, k), "attempt": cl.context.turn.attempt}


async def steps(session: str, given: Input) -> None:
    """Find words in durable steps."""
    words = [await find(session, given.nonce, k) for k in range(given.size)]
    await cl.Message("".join(str(each["word"]) for each in words)).send()


async def state(session: str, given: Input) -> None:
    """Change the shared state."""
    async with shared.change() as value:
        value.nonces[given.nonce] = len(value.nonces)
    await cl.sleep(10 * PACE)
    await cl.Message(workload.word(session, given.nonce, 0)).send()


async def fail(session: str, given: Input) -> None:
    """Raise in the middle of a message."""
    said = cl.Message()
    for k in range(given.size):
        await said.stream_token(workload.word(session, given.nonce, k))
    raise RuntimeError(given.nonce)


async def flood(session: str, given: Input) -> None:
    """Say far more than anybody reads."""
    said = cl.Message()
    for k in range(given.size):
        await said.stream_token(workload.piece(session, given.nonce, k))
    await said.send()


HANDLERS: dict[workload.Kind, Callable[[str, Input], Awaitable[None]]] = {
    "stream": stream,
    "thread": thread,
    "sends": sends,
    "ask": ask,
    "wait": wait,
    "steps": steps,
    "state": state,
    "fail": fail,
    "flood": flood,
}
