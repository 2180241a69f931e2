"""What is seen of a chat in a terminal, and what is typed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from typing import Any

from rich.console import Console
from rich.control import Control
from rich.segment import ControlType

from app.client import Client, Item, ResetEvent, Sent

CLEAR_LINE = Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2))

MAX_LINE = 1024 * 1024
"""Bytes of a line that is typed; what is longer is cut."""

UNPRINTABLE = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Control characters: what an agent says must not move the cursor, or worse."""


class Screen:
    """What is seen: messages as they stream, notes between them, and the prompt below while there is one."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._keyboard = Keyboard()
        self._agent = ""
        self._prompting = False
        self._lost = False
        # the message the cursor stands behind, and what is on the screen of those that are not over
        self._current: str | None = None
        self._names: dict[str, str] = {}
        self._texts: dict[str, str] = {}
        self._mine: set[str] = set()

    def hello(self, client: Client) -> None:
        """Say where we are."""
        self._agent = client.welcome.agent
        self.note(f"{self._agent}, session {client.session}. Ctrl-C stops an answer, Ctrl-D leaves.")

    def mine(self, sent: Sent) -> None:
        """An input that was typed here and needs no echo."""
        self._mine.add(sent.message or "")

    def connection(self, why: str | None) -> None:
        """The connection was lost and why, or is there."""
        if why is not None and not self._lost:
            self.note(f"connection lost: {why}; reconnecting …", "yellow")
        elif why is None and self._lost:
            self.note("connected again")
        self._lost = why is not None

    def note(self, text: str, style: str = "dim") -> None:
        """A line that is not the agent's."""
        self._break()
        self._console.print(printable(text), style=style)
        self._prompt()

    async def ask(self) -> str | None:
        """A line from the user; None at the end."""
        self._break()
        self._prompting = True
        self._prompt()
        line = await self._keyboard.line()
        self._prompting = False
        if line is None and self._console.is_terminal:
            self._console.print()
        return line

    def show(self, item: Item) -> None:
        """One item of the log."""
        if isinstance(item, ResetEvent):
            self._show_snapshot(item)
            return
        match item.event:
            case {"type": "TEXT_MESSAGE_START", "messageId": id_, "role": role, **rest} if id_ not in self._mine:
                self._names[id_] = "you" if role == "user" else str(rest.get("name", self._agent))
                self._texts[id_] = ""
            case {"type": "TEXT_MESSAGE_CONTENT", "messageId": id_, "delta": delta} if id_ in self._texts:
                self._stream(id_, delta)
            case {"type": "TEXT_MESSAGE_END", "messageId": id_} if id_ == self._current:
                self._break()
                self._prompt()
            case {"type": "TOOL_CALL_START", "toolCallName": name}:
                self.note(f"[{name}]")
            case {"type": "ACTIVITY_SNAPSHOT", "content": {"name": name, "status": "running"}}:
                self.note(f"[{name}]")
            case {"type": "RUN_ERROR"} as error:
                self._show_error(error)
                self._forget()
            case {"type": "RUN_FINISHED"}:
                self._forget()
            case {"type": "CUSTOM", "name": name, "value": value}:
                self._show_custom(name, value, item.attempt)

    def _show_error(self, error: dict[str, Any]) -> None:
        if error.get("code") == "cancelled":
            self.note("cancelled")
        else:
            self.note(f"{error.get('code', 'error')}: {error.get('message', '')}", "red")

    def _show_custom(self, name: str, value: dict[str, Any], attempt: int) -> None:
        match name:
            case "parley.superseded":
                if any(id_ in self._texts for id_ in value["messages"]):
                    self.note(f"that answer was cut off: attempt {attempt} starts over", "yellow")
            case "parley.message_updated" if value["content"] != self._texts.get(value["messageId"]):
                self.note("a message was changed:")
                self._whole(value["messageId"], self._names.get(value["messageId"], self._agent), value["content"])
            case "parley.message_removed":
                self.note("a message was removed")
            case "parley.toast":
                self.note(value["message"])

    def _show_snapshot(self, reset: ResetEvent) -> None:
        self._forget()
        self.note(f"the conversation up to here ({reset.reason}):")
        for message in reset.snapshot.messages:
            if message["role"] in {"user", "assistant"} and message.get("content"):
                name = "you" if message["role"] == "user" else message.get("name", self._agent)
                self._whole(message["id"], name, message["content"])

    def _whole(self, id_: str, name: str, text: str) -> None:
        self._names[id_], self._texts[id_] = name, ""
        self._stream(id_, text)
        self._break()
        self._prompt()

    def _stream(self, id_: str, delta: str) -> None:
        if id_ != self._current:
            self._break()
            self._console.print(printable(self._names[id_]), style="bold", end=": ")
            self._current = id_
        self._texts[id_] += delta
        self._console.print(printable(delta), end="")

    def _forget(self) -> None:
        """A turn is over: none of its messages will change any more."""
        self._break()
        self._names.clear()
        self._texts.clear()
        self._mine.clear()
        self._prompt()

    def _break(self) -> None:
        """Go to the beginning of a line."""
        if self._current is not None:
            self._current = None
            self._console.print()
        elif self._prompting and self._console.is_terminal:
            self._console.control(CLEAR_LINE)

    def _prompt(self) -> None:
        if self._prompting and self._current is None and self._console.is_terminal:
            self._console.print("> ", style="bold green", end="")


class Keyboard:
    """Lines of the standard input, each read by a thread that dies with the process."""

    def __init__(self) -> None:
        self._pending = b""

    async def line(self) -> str | None:
        """The next line, None at the end. To be called again only once it has returned."""
        loop = asyncio.get_running_loop()
        line: asyncio.Future[str | None] = loop.create_future()

        def tell(text: str | None) -> None:
            if not line.done():
                line.set_result(text)

        def read() -> None:
            text = self._read()
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(tell, text)

        threading.Thread(target=read, daemon=True, name="keyboard").start()
        return await line

    def _read(self) -> str | None:
        """Past Python's own buffer: a thread that waits in it holds a lock the interpreter wants when it leaves."""
        data = b"?"
        while data and b"\n" not in self._pending and len(self._pending) < MAX_LINE:
            try:
                data = os.read(0, MAX_LINE)
            except OSError:  # it is closed, or the terminal is gone
                data = b""
            self._pending += data
        if not self._pending:
            return None
        line, _, self._pending = self._pending.partition(b"\n")
        return line.decode(errors="replace").removesuffix("\r")


def printable(text: str) -> str:
    """Text without control characters."""
    return text.translate(UNPRINTABLE)
