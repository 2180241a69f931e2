"""How the page looks and reads: light and dark, phone and desktop, by keyboard and for a screen reader."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.playground.chromium import OFFLINE, Tab, open_tab
from tests.playground.conftest import Desk, token_of
from tests.support.server import ParleyServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text()
RUN_AXE = """async () => (await axe.run(document, { resultTypes: ['violations'] })).violations
    .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.map((node) => node.html.slice(0, 200)).join(' | ')}`)"""
SETTLED = """() => Promise.all(document.getAnimations()
    .filter((animation) => animation.effect.getComputedTiming().endTime !== Infinity)
    .map((animation) => animation.finished))"""

SIZES = {"phone": {"width": 390, "height": 844}, "desktop": {"width": 1280, "height": 800}}
LOOKS = list(itertools.product(SIZES, ("light", "dark")))


class Look:
    """Takes a picture of each state and has axe judge it."""

    def __init__(self, tab: Tab, folder: Path) -> None:
        self.tab = tab
        self._folder = folder

    async def at(self, state: str) -> None:
        page = self.tab.page
        # what fades in is judged when it is there
        await page.evaluate(SETTLED)
        await page.screenshot(path=self._folder / f"{state}.png")
        assert await page.evaluate(RUN_AXE) == [], state
        assert await page.evaluate("() => document.documentElement.scrollWidth <= innerWidth"), f"{state} is too wide"


@pytest.mark.parametrize(("size", "scheme"), LOOKS, ids=[f"{size}-{scheme}" for size, scheme in LOOKS])
async def test_every_state_in_every_look(
    desk: Desk, site: ParleyServer, tmp_path: Path, size: str, scheme: Any
) -> None:
    options = {"viewport": SIZES[size], "color_scheme": scheme, "has_touch": size == "phone"}
    tab = await desk.tab(site, "writer", **options)
    await tab.page.evaluate(AXE)
    look = Look(tab, tmp_path)
    await expect(tab["#empty"]).to_be_visible()
    await look.at("empty")
    await tab.say("Show me everything you have,\nplease, on two lines.")
    await tab.sees("The end")
    await tab.done()
    await look.at("answer")
    await tab["#thread"].evaluate("thread => thread.scrollTop = 0")
    await expect(tab["#latest"]).to_be_visible()
    await look.at("top")
    await tab["#frames-button"].click()
    await tab["#frame-list summary"].nth(2).click()
    await look.at("frames")
    await tab["#frames-close"].click()
    desk.forgive(OFFLINE)
    await tab.page.context.set_offline(offline=True)
    await tab["#status"].click()
    await tab["#drop"].click()
    await tab["#text"].fill("Said without a connection.")
    await tab["#text"].press("Enter")
    await expect(tab["#pending"]).to_contain_text("Will be sent")
    await look.at("dropped")
    await tab.page.context.set_offline(offline=False)
    await tab.connected()
    await tab.page.keyboard.press("Escape")
    await tab.choose("moody")
    await tab.say("fail")
    await expect(tab["#messages .end"]).to_be_visible()
    await tab.say("wait")
    await expect(tab["#working"]).to_be_visible()
    await look.at("trouble")
    await tab["#stop"].click()
    await tab.done()
    gone = await open_tab(tab.page.context, f"{site.url}/#session=nobody-has-this-one")
    await gone.page.evaluate(AXE)
    await expect(gone["#over"]).to_be_visible()
    await Look(gone, tmp_path).at("over")


@pytest.mark.parametrize(("size", "scheme"), LOOKS, ids=[f"{size}-{scheme}" for size, scheme in LOOKS])
async def test_signing_in_in_every_look(
    desk: Desk, guarded: ParleyServer, tmp_path: Path, size: str, scheme: Any
) -> None:
    tab = await desk.tab(guarded, viewport=SIZES[size], color_scheme=scheme, has_touch=size == "phone")
    await tab.page.evaluate(AXE)
    look = Look(tab, tmp_path)
    await expect(tab["#signin"]).to_be_visible()
    await look.at("signin")
    await tab["#token"].fill("no token")
    await tab["#token"].press("Enter")
    await expect(tab["#signin-why"]).to_contain_text("the token is refused")
    await look.at("refused")
    await tab["#token"].fill(token_of("ada"))
    await tab["#token"].press("Enter")
    await tab.connected()
    await tab["#status"].click()
    await expect(tab["#signout"]).to_be_visible()
    await look.at("signed-in")


async def test_the_theme_is_chosen_and_kept(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, color_scheme="light")
    background = "() => getComputedStyle(document.body).backgroundColor"
    light = await tab.page.evaluate(background)
    await expect(tab["#theme"]).to_have_attribute("aria-pressed", "false")
    await tab["#theme"].click()
    await expect(tab["#theme"]).to_have_attribute("aria-pressed", "true")
    dark = await tab.page.evaluate(background)
    assert dark != light
    await tab.page.reload()
    assert await tab.page.evaluate(background) == dark
    await tab["#theme"].click()
    assert await tab.page.evaluate(background) == light


async def test_all_by_keyboard(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "writer")
    keyboard = tab.page.keyboard
    await tab["#text"].focus()
    await keyboard.type("go")
    await keyboard.press("Enter")
    await tab.sees("The end")
    await tab.done()
    await expect(tab["#text"]).to_be_focused()
    seen = []
    await tab["#agent"].focus()
    for _ in range(20):
        seen.append(await tab.page.evaluate("() => document.activeElement.id || document.activeElement.className"))
        outline = await tab.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
        assert outline != "none" or seen[-1] == "text", f"the focus cannot be seen on {seen[-1]}"
        await keyboard.press("Tab")
        if seen[-1] == "text":
            break
    links = [""] * 3
    first = ["agent", "new", "status", "frames-button", "theme", "thread"]
    assert seen == [*first, *links[:2], "copy", "sideways", "sideways", *links[:2], "text"]
    await tab["#frames-button"].focus()
    await keyboard.press("Enter")
    await expect(tab["#frames-close"]).to_be_focused()
    await keyboard.press("Escape")
    await expect(tab["#frames"]).to_be_hidden()
    await expect(tab["#frames-button"]).to_be_focused()


async def test_on_a_phone_the_drawer_covers_the_page(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, viewport=SIZES["phone"])
    await tab["#frames-button"].click()
    assert await tab["#main"].evaluate("main => main.inert")
    await tab["#frames-close"].click()
    assert not await tab["#main"].evaluate("main => main.inert")


async def test_what_is_news_is_read_out_once(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "counter")
    spoken = await tab.page.evaluate_handle("() => []")
    await tab.page.evaluate(
        """(spoken) => new MutationObserver((records) => {
            for (const { addedNodes } of records) for (const node of addedNodes) spoken.push(node.textContent);
        }).observe(document.getElementById('live'), { childList: true })""",
        spoken,
    )
    await tab.say("aloud")
    await tab.sees("aloud9")
    assert await spoken.json_value() == []
    await tab["#stop"].click()
    await tab.done()
    first, *rest = await spoken.json_value()
    assert first.startswith("counter: aloud0 aloud1 ")
    assert rest == ["Stopped."]
    await tab.page.reload()
    await tab.sees("aloud9")
    await expect(tab["#live"]).to_be_empty()


async def test_the_end_is_followed_until_one_scrolls_away(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "tokens", viewport={"width": 600, "height": 400})
    await tab.say("\n\n".join(f"paragraph {number}" for number in range(80)))
    await tab.sees("paragraph 30")
    away = "thread => thread.scrollHeight - thread.scrollTop - thread.clientHeight"
    assert await tab["#thread"].evaluate(away) < 100
    await tab["#thread"].evaluate("thread => thread.scrollTop = 50")
    await expect(tab["#latest"]).to_be_visible()
    await tab.done()
    assert await tab["#thread"].evaluate("thread => thread.scrollTop") == 50
    await tab["#latest"].click()
    await expect(tab["#latest"]).to_be_hidden()
    assert await tab["#thread"].evaluate(away) < 2
