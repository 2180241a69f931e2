"""A browser's page as a person has it, and a watch on everything that must not happen in one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Locator, Page, Request, expect

CHROMIUM = Path("/usr/bin/chromium")
ARGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip

WITHIN_MS = 15_000

ALARM = """
addEventListener('securitypolicyviolation', (event) => complain(`CSP: ${event.violatedDirective} ${event.blockedURI}`));
Object.defineProperty(window, '__xss', { set: () => complain('a script ran') });
"""
"""Runs before the page in every document; `complain` leads to `Watch`."""

REFUSED = re.compile("ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|closed before the connection")
"""What the browser itself says of a WebSocket whose server is dead: no page can keep it from saying so."""

OFFLINE = re.compile("ERR_INTERNET_DISCONNECTED")
"""What it says of a WebSocket while there is no network."""

STOPPED = re.compile("Content Security Policy|^CSP: |Not Found")
"""What it says of what its policy stops in a text before the sanitiser takes it away, and of pictures not there."""


class Watch:
    """Collects what is wrong in any page of a context, in words."""

    def __init__(self, origin: str) -> None:
        self._heard: list[str] = []
        self.forgiven: re.Pattern[str] | None = None
        self._origin = origin

    @property
    def complaints(self) -> list[str]:
        return [complaint for complaint in self._heard if not (self.forgiven and self.forgiven.search(complaint))]

    async def over(self, context: BrowserContext) -> None:
        await context.expose_binding("complain", lambda _, what: self._heard.append(what))
        await context.add_init_script(ALARM)
        context.on("console", self._told)
        context.on("weberror", lambda error: self._heard.append(f"error: {error.error}"))
        context.on("dialog", lambda dialog: self._heard.append(f"dialog: {dialog.message}"))
        context.on("request", self._asked)

    def _told(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning", "assert"}:
            self._heard.append(f"{message.type}: {message.text}")

    def _asked(self, request: Request) -> None:
        url = urlsplit(request.url)
        if f"{url.scheme}://{url.netloc}" != self._origin and url.scheme not in {"data", "blob"}:
            self._heard.append(f"request: {request.url}")


class Tab:
    """One tab with the page, in the terms of who uses it."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def __getitem__(self, selector: str) -> Locator:
        return self.page.locator(selector)

    async def connected(self) -> None:
        await expect(self["#status-words"]).to_have_text("Connected")

    async def choose(self, agent: str) -> None:
        """Pick an agent and wait until there is a conversation with it."""
        await self.connected()
        if await self["#agent"].input_value() != agent:
            before = self.session
            await self["#agent"].select_option(agent)
            await self.page.wait_for_url(lambda url: "session=" in url and before not in url)
        await self.connected()
        await expect(self["#text"]).to_have_attribute("placeholder", f"Message {agent}")

    async def say(self, text: str) -> None:
        await self["#text"].fill(text)
        await self["#text"].press("Enter")
        await expect(self["#text"]).to_have_value("")

    async def transcript(self) -> list[tuple[str, str]]:
        """Who said what, as it is shown."""
        script = "all => all.map(m => [m.classList.contains('user') ? 'user' : 'agent', m.innerText.trim()])"
        shown = await self["#messages .message"].evaluate_all(script)
        return [(who, text.partition("\n")[2].strip()) for who, text in shown]

    def answers(self) -> Locator:
        return self["#messages .message.agent .body"]

    async def sees(self, text: str | re.Pattern[str]) -> None:
        """Wait until the last answer has this in it."""
        await expect(self.answers().last).to_contain_text(text)

    async def done(self) -> None:
        """Wait until no turn runs or waits."""
        await expect(self["#stop"]).to_be_hidden()
        await expect(self["#pending .message"]).to_have_count(0)
        await expect(self[".message.open"]).to_have_count(0)

    @property
    def session(self) -> str:
        """The session in the address, empty if there is none yet."""
        return self.page.url.partition("#session=")[2]

    async def kept(self, name: str) -> Any:
        """What the tab's storage holds under a name."""
        return await self.page.evaluate("name => sessionStorage.getItem(`parley.${name}`)", name)


async def new_context(browser: Browser, watch: Watch, **options: Any) -> BrowserContext:
    """A browser profile of its own, watched."""
    context = await browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
    context.set_default_timeout(WITHIN_MS)
    await watch.over(context)
    return context


async def open_tab(context: BrowserContext, url: str) -> Tab:
    """A tab that shows a page of the server, connected or not."""
    tab = Tab(await context.new_page())
    await tab.page.goto(url)
    return tab
