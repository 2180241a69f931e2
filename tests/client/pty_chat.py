"""`parley chat` in a process and a terminal of its own."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import re
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CTRL_C, CTRL_D = "\x03", "\x04"
CONTROLS = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Chat:
    """What is on the screen, and a keyboard."""

    def __init__(self, process: asyncio.subprocess.Process, terminal: int) -> None:
        self.screen = ""
        self._ended = asyncio.Event()
        self._process = process
        self._terminal = terminal
        self._more = asyncio.Event()
        asyncio.get_running_loop().add_reader(terminal, self._read)

    async def sees(self, *texts: str) -> None:
        """Wait until these texts stand on the screen, each after the other."""
        pattern = re.compile(".*".join(re.escape(text) for text in texts), re.DOTALL)
        try:
            async with asyncio.timeout(20):
                while not pattern.search(self.screen):
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"{texts} not on the screen:\n{self.screen}") from None

    def types(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    async def leaves(self) -> int:
        """Wait for the end of the process; its exit code."""
        async with asyncio.timeout(20):
            await self._ended.wait()
            return await self._process.wait()

    def _read(self) -> None:
        try:
            data = os.read(self._terminal, 65_536)
        except OSError:  # the other side is closed
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._terminal)
            self._ended.set()
        self.screen += CONTROLS.sub("", data.decode(errors="replace")).replace("\r\n", "\n")
        self._more.set()


@asynccontextmanager
async def chatting(*arguments: str) -> AsyncIterator[Chat]:
    """`parley chat` with these arguments, in a terminal; killed if it does not leave."""
    outside, inside = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "app", "chat", *arguments),
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        # Ctrl-C reaches those whose terminal it is
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(inside)
    try:
        yield Chat(process, outside)
    finally:
        asyncio.get_running_loop().remove_reader(outside)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        os.close(outside)
