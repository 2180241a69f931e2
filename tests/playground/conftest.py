"""Fixtures of the playground's tests: one browser and one server for all, watched tabs for each."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import jwt
import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from app.gateway.wall import now
from tests.playground.agents import AGENTS
from tests.playground.chromium import ARGS, CHROMIUM, WITHIN_MS, Tab, Watch, new_context, open_tab
from tests.support.server import ParleyServer

SECRET = "a secret that is long enough for HS256"


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The one browser of the test run."""
    assert CHROMIUM.exists(), f"{CHROMIUM} is not there: run `make browser`"
    expect.set_options(timeout=WITHIN_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    """A server that all tests share. Leave it running, and use sessions of your own."""
    folder = tmp_path_factory.mktemp("site")
    with ParleyServer(folder, AGENTS, env={"PARLEY_DELTA_WINDOW_MS": "0", "PARLEY_DEFAULT_AGENT": "echo"}) as server:
        yield server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    """The same for those who sign in."""
    with ParleyServer(tmp_path_factory.mktemp("guarded"), AGENTS, env={"PARLEY_AUTH_JWT_SECRET": SECRET}) as server:
        yield server


def token_of(user: str) -> str:
    """What lets a user in there."""
    return jwt.encode({"sub": user, "exp": int(now()) + 600}, SECRET, algorithm="HS256")


class Desk:
    """Opens watched contexts and tabs; whatever a page did that no page may do fails the test at its end."""

    def __init__(self, browser: Browser, stack: AsyncExitStack) -> None:
        self._browser = browser
        self._stack = stack
        self.watches: list[Watch] = []

    async def context(self, server: ParleyServer, **options: Any) -> BrowserContext:
        watch = Watch(server.url)
        context = await new_context(self._browser, watch, **options)
        self._stack.push_async_callback(context.close)
        self.watches.append(watch)
        return context

    async def tab(self, server: ParleyServer, agent: str | None = None, **options: Any) -> Tab:
        """A tab in a context of its own, talking with `agent` if one is named."""
        tab = await open_tab(await self.context(server, **options), server.url)
        if agent is not None:
            await tab.choose(agent)
        return tab

    def forgive(self, pattern: re.Pattern[str]) -> None:
        """Let pass what the browser says of what this test does on purpose."""
        for watch in self.watches:
            watch.forgiven = pattern

    @property
    def complaints(self) -> list[str]:
        return [complaint for watch in self.watches for complaint in watch.complaints]


@pytest_asyncio.fixture(loop_scope="session")
async def desk(browser: Browser) -> AsyncIterator[Desk]:
    """Tabs, each with a watch on it. A test with a server of its own names that one first: it has to end last."""
    async with AsyncExitStack() as stack:
        desk = Desk(browser, stack)
        yield desk
    assert desk.complaints == []
