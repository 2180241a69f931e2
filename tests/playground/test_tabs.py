"""Whose a tab is: its own name among other tabs, and who is signed in."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import expect

from tests.playground.chromium import Tab
from tests.playground.conftest import Desk, token_of
from tests.support.server import ParleyServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

NO_LOCKS = "delete Navigator.prototype.locks"
"""As in a page that came over plain HTTP from another machine."""


async def duplicate(tab: Tab) -> Tab:
    """As the browser's own "Duplicate": the new tab begins with a copy of the other's storage."""
    async with tab.page.context.expect_page() as opened:
        await tab.page.evaluate("() => { open(location.href) }")
    copy = Tab(await opened.value)
    await copy.connected()
    return copy


@pytest.mark.parametrize("locks", [True, False], ids=["locks", "no locks"])
async def test_a_duplicated_tab_counts_for_itself(desk: Desk, site: ParleyServer, locks: bool) -> None:  # noqa: FBT001
    context = await desk.context(site)
    if not locks:
        await context.add_init_script(NO_LOCKS)
    one = Tab(await context.new_page())
    await one.page.goto(site.url)
    await one.choose("echo")
    assert await one.page.evaluate("() => !!navigator.locks") is locks
    await one.say("from one")
    await one.done()
    two = await duplicate(one)
    await two.sees("from one")
    names = [await tab.kept("client") for tab in (one, two)]
    assert names[0] != names[1]
    await asyncio.gather(one.say("again"), two.say("from two"))
    for tab in (one, two):
        await expect(tab["#messages .message"]).to_have_count(6)
        await tab.done()
    assert await one.transcript() == await two.transcript()
    assert sorted(text for who, text in await one.transcript() if who == "user") == ["again", "from one", "from two"]
    for tab, name in zip((one, two), names, strict=True):
        await tab.page.reload()
        await tab.connected()
        assert await tab.kept("client") == name


async def test_open_in_another_tab(desk: Desk, site: ParleyServer) -> None:
    one = await desk.tab(site, "echo")
    await one.say("hello")
    await one.sees("hello")
    await one["#status"].click()
    async with one.page.context.expect_page() as opened:
        await one["#share"].click()
    two = Tab(await opened.value)
    await two.sees("hello")
    assert two.session == one.session


async def test_signing_in_and_out(desk: Desk, guarded: ParleyServer) -> None:
    tab = await desk.tab(guarded)
    await expect(tab["#signin"]).to_be_visible()
    await expect(tab["#token"]).to_be_focused()
    await tab["#token"].fill("no token")
    await tab["#token"].press("Enter")
    await expect(tab["#signin-why"]).to_contain_text("the token is refused")
    await tab["#token"].fill(token_of("ada"))
    await tab["#token"].press("Enter")
    await tab.choose("echo")
    await tab.say("hello")
    await tab.sees("hello")
    await tab.page.reload()
    await tab.sees("hello")
    await tab["#status"].click()
    await expect(tab["#fact-user"]).to_have_text("ada")
    # whoever looks at the frames does not see the token
    await tab["#frames-button"].click()
    await tab["#frame-list summary"].first.click()
    await expect(tab["#frame-list pre"]).to_contain_text('"token": "…"')
    await tab["#status"].click()
    await tab["#signout"].click()
    await expect(tab["#signin"]).to_be_visible()
    assert await tab.transcript() == []
    # another user may not have the first one's conversation
    await tab["#token"].fill(token_of("bob"))
    await tab["#token"].press("Enter")
    await expect(tab["#over-words"]).to_contain_text("the session is another user's")
    await tab["#over-new"].click()
    await tab.connected()
    await expect(tab["#fact-user"]).to_have_text("bob")
