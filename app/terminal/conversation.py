"""What goes on in a chat in a terminal: prompt, answer, prompt; and what Ctrl-C does."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Self, TypeVar

from rich.console import Console

from app.client import Client, InputRefused, Sent, Unreachable, connect
from app.errors import ParleyError
from app.terminal.screen import Screen, printable

T = TypeVar("T")

PATIENCE = 60.0
"""Seconds that `--once` goes on without a connection it had."""

INTERRUPTED = 130
"""The exit code after a Ctrl-C in the middle of an answer, as shells have it: 128 + SIGINT."""


def chat(url: str, agent: str | None, once: str | None, token: str | None, session: str | None) -> int:
    """Talk to the server at `url`, or only say `once` and print the answer; the exit code.

    With `once` nothing but the answer's text goes to the standard output; all errors go to the standard error.
    """
    try:
        if once is None:
            return asyncio.run(_converse(url, agent, token, session))
        return asyncio.run(_say(once, url, agent, token, session))
    except Unreachable as error:
        sys.stderr.write(f'parley: {error} (is "parley serve" running?)\n')
    except ParleyError as error:
        sys.stderr.write(f"parley: {error}\n")
    return 1


async def _say(text: str, url: str, agent: str | None, token: str | None, session: str | None) -> int:
    async with connect(url, agent=agent, session=session, token=token, give_up_after=PATIENCE) as client:
        sent = await client.send(text)
        with _Interrupts(client, lambda: sent) as interrupts:
            answer = await interrupts.or_leave(client.answer_to(sent))
    if answer is None:
        return interrupts.code
    sys.stdout.write(f"{printable(answer) if sys.stdout.isatty() else answer}\n")
    return 0


async def _converse(url: str, agent: str | None, token: str | None, session: str | None) -> int:
    screen = Screen(Console(highlight=False, markup=False, emoji=False, soft_wrap=True))
    async with connect(url, agent=agent, session=session, token=token, on_state=screen.connection) as client:
        conversation = Conversation(client, screen)
        with _Interrupts(client, lambda: conversation.waits_for) as interrupts:
            await interrupts.or_leave(conversation.run())
        return interrupts.code


class _Interrupts:
    """What Ctrl-C does: the first in a turn cancels it; the next, or one at the prompt, leaves.

    `running` gives the input whose turn it would cancel; `code` is the exit code it calls for.
    """

    def __init__(self, client: Client, running: Callable[[], Sent | None]) -> None:
        self.code = 0
        self._client = client
        self._running = running
        self._cancelled: Sent | None = None
        self._leave = asyncio.Event()
        self._cancelling: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        for task in self._cancelling:
            task.cancel()

    async def or_leave(self, work: Coroutine[Any, Any, T]) -> T | None:
        """The outcome of `work`; None if it was left."""
        working, leaving = asyncio.create_task(work), asyncio.create_task(self._leave.wait())
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
            return working.result() if working.done() else None
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.wait((working, leaving))

    def _interrupt(self) -> None:
        sent = self._running()
        if sent is None or sent is self._cancelled:
            self.code = 0 if sent is None else INTERRUPTED
            self._leave.set()
            return
        self._cancelled = sent
        task = asyncio.create_task(self._cancel(sent))
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    async def _cancel(self, sent: Sent) -> None:
        # an input that was refused, or a connection that has ended, is told by whoever waits for the turn
        with contextlib.suppress(ParleyError):
            await self._client.cancel((await sent.acked()).turn)


class Conversation:
    """Prompt, turn, prompt. `waits_for` is the input whose turn is not over."""

    def __init__(self, client: Client, screen: Screen) -> None:
        self.waits_for: Sent | None = None
        self._client = client
        self._screen = screen
        self._caught_up = asyncio.Event()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Go on until the user or the server has had enough. Raises: ParleyError."""
        self._screen.hello(self._client)
        following, talking = asyncio.create_task(self._follow()), asyncio.create_task(self._talk())
        try:
            done, _ = await asyncio.wait((following, talking), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            following.cancel()
            talking.cancel()
            await asyncio.wait((following, talking))

    async def _follow(self) -> None:
        if self._client.welcome.head.seq == 0:
            self._caught_up.set()
        async for item in self._client.events():
            self._screen.show(item)
            if item.position.seq >= self._client.welcome.head.seq:
                self._caught_up.set()
            if self.waits_for is not None and self._client.is_over(self.waits_for):
                self._over.set()

    async def _talk(self) -> None:
        # what was said before stands above the first prompt
        await self._caught_up.wait()
        while (line := await self._screen.ask()) is not None:
            if line.strip():
                await self._say(line)

    async def _say(self, line: str) -> None:
        self._over.clear()
        try:
            self.waits_for = sent = await self._client.send(line)
            self._screen.mine(sent)
            await sent.acked()
            if not self._client.is_over(sent):
                await self._over.wait()
        except InputRefused as error:
            self._screen.note(f"not sent: {error}", "red")
        finally:
            self.waits_for = None
