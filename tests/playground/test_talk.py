"""A conversation on the page, and everything that interrupts one: the whole answer stands there once."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import expect

from tests.conftest import StartServer
from tests.playground.agents import AGENTS, WORDS, let_on
from tests.playground.chromium import OFFLINE, REFUSED, Tab, open_tab
from tests.playground.conftest import Desk
from tests.support.server import ParleyServer

pytestmark = pytest.mark.asyncio(loop_scope="session")


def counted(word: str) -> list[tuple[str, str]]:
    """What is shown after one question to the counter."""
    return [("user", word), ("agent", " ".join(f"{word}{k}" for k in range(WORDS)))]


async def in_mid_stream(tab: Tab, word: str) -> None:
    await tab.say(word)
    await tab.sees(f"{word}{WORDS // 2}")
    await expect(tab[".message.open"]).to_have_count(1)


async def whole(tab: Tab, word: str) -> None:
    await tab.sees(f"{word}{WORDS - 1}")
    await tab.done()


async def test_an_answer_streams_in(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "counter")
    lengths = await tab.page.evaluate_handle("() => []")
    observe = """(lengths) => new MutationObserver(() =>
        lengths.push(document.querySelector('#messages .agent .body')?.innerText.length ?? 0))
        .observe(document.getElementById('messages'), {childList: true, subtree: true, characterData: true})"""
    await tab.page.evaluate(observe, lengths)
    await in_mid_stream(tab, "streams")
    let_on(site, "streams")
    await whole(tab, "streams")
    assert await tab.transcript() == counted("streams")
    seen = await lengths.json_value()
    assert len(set(seen)) > 5
    assert seen == sorted(seen)


async def test_a_reload_in_mid_stream(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "counter")
    await in_mid_stream(tab, "reload")
    client = await tab.kept("client")
    await tab.page.reload()
    await tab.sees(f"reload{WORDS // 2}")
    let_on(site, "reload")
    await whole(tab, "reload")
    assert await tab.transcript() == counted("reload")
    # it is the same tab, and counts on
    assert await tab.kept("client") == client
    let_on(site, "after")
    await tab.say("after")
    await whole(tab, "after")
    assert await tab.transcript() == counted("reload") + counted("after")


async def test_a_dropped_connection_in_mid_stream(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "counter")
    await in_mid_stream(tab, "drop")
    await tab["#status"].click()
    await tab["#drop"].click()
    await expect(tab["#status-words"]).to_have_text("Reconnecting")
    await expect(tab["#status-detail"]).to_contain_text("dropped by you")
    let_on(site, "drop")
    await tab.connected()
    await whole(tab, "drop")
    assert await tab.transcript() == counted("drop")


async def test_what_is_said_without_a_connection(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "echo")
    await tab.page.context.set_offline(offline=True)
    await tab["#status"].click()
    await tab["#drop"].click()
    await tab["#text"].fill("later")
    await tab["#text"].press("Enter")
    await expect(tab["#pending .hint"]).to_have_text("Will be sent when the connection is back")
    desk.forgive(OFFLINE)
    await tab.page.context.set_offline(offline=False)
    await tab.sees("later")
    await tab.done()
    assert await tab.transcript() == [("user", "later"), ("agent", "later")]


@pytest.mark.parametrize("store_too", [False, True], ids=["server", "server and store"])
async def test_a_killed_server_in_mid_stream(server: StartServer, desk: Desk, store_too: bool) -> None:  # noqa: FBT001
    site = await asyncio.to_thread(server, AGENTS)
    tab = await desk.tab(site, "counter")
    desk.forgive(REFUSED)
    await in_mid_stream(tab, "kill")
    await asyncio.to_thread(site.kill_group)
    if store_too:
        await asyncio.to_thread(site.kill_store)
    await expect(tab["#status-words"]).to_have_text(re.compile("Reconnecting|Connecting"))
    let_on(site, "kill")
    await asyncio.to_thread(site.start)
    await whole(tab, "kill")
    assert await tab.transcript() == counted("kill")


async def test_stop(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "counter")
    await in_mid_stream(tab, "stop")
    await tab["#stop"].click()
    await expect(tab["#messages .end"]).to_have_text("Stopped.")
    await tab.done()
    assert (await tab.answers().last.inner_text()).endswith(f"stop{WORDS // 2}")
    let_on(site, "stopped")
    await tab.say("stopped")
    await whole(tab, "stopped")


async def test_a_second_tab_shows_the_same(desk: Desk, site: ParleyServer) -> None:
    one = await desk.tab(site, "counter")
    await in_mid_stream(one, "second")
    two = await open_tab(one.page.context, one.page.url)
    await two.sees(f"second{WORDS // 2}")
    let_on(site, "second")
    for tab in (one, two):
        await whole(tab, "second")
        assert await tab.transcript() == counted("second")
    await in_mid_stream(two, "again")
    await one.sees(f"again{WORDS // 2}")
    await one["#stop"].click()
    for tab in (one, two):
        await expect(tab["#messages .end"]).to_have_text("Stopped.")
        await tab.done()
    assert await one.transcript() == await two.transcript()
    assert await one.kept("client") != await two.kept("client")


async def test_one_agent_and_then_another(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "echo")
    await expect(tab["#empty-description"]).to_have_text("Says the same, whole.")
    await tab.say("to echo")
    await tab.done()
    await tab.choose("counter")
    assert await tab.transcript() == []
    await expect(tab["#empty-name"]).to_have_text("counter")
    await in_mid_stream(tab, "back")
    await tab.page.go_back()
    await tab.sees("to echo")
    await expect(tab["#agent"]).to_have_value("echo")
    await tab.page.go_forward()
    let_on(site, "back")
    await whole(tab, "back")
    assert await tab.transcript() == counted("back")
    await tab["#new"].click()
    await expect(tab["#empty"]).to_be_visible()
    await expect(tab["#agent"]).to_have_value("counter")


async def test_what_goes_wrong_is_said_in_words(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "moody")
    await tab.say("fail")
    await expect(tab["#messages .end"].last).to_contain_text("The agent failed. It says: something went wrong")
    await tab.say("admit")
    await expect(tab[".message.error .body"]).to_have_text("my fault")
    await tab.say("change")
    await tab.sees("second")
    await expect(tab[".message strong"]).to_have_text("second")
    await tab.say("take back")
    await tab.sees("said")
    await tab.done()
    assert [text for who, text in await tab.transcript() if who == "agent"] == ["my fault", "second", "said"]
    await tab.say("wait")
    await expect(tab["#working"]).to_be_visible()
    await tab.say("change")
    await expect(tab["#messages .end"].last).to_contain_text("Not taken: the agent was still busy")
    await tab["#stop"].click()
    await tab.sees("I was stopped.")
    await expect(tab["#messages .end"].last).to_have_text("Stopped.")


async def test_a_session_that_is_not_there(desk: Desk, site: ParleyServer) -> None:
    tab = await open_tab(await desk.context(site), f"{site.url}/#session=nobody-has-this-one")
    await expect(tab["#over-words"]).to_have_text("There is no such conversation or agent, or not any more.")
    await expect(tab["#text"]).to_be_disabled()
    await expect(tab["#over-retry"]).to_be_hidden()
    await tab["#over-new"].click()
    await tab.connected()
    await tab.say("anew")
    await tab.sees("anew")
    await expect(tab["#over"]).to_be_hidden()


async def test_a_draft_outlives_a_reload(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "echo")
    await tab["#text"].fill("not yet\nsaid")
    await tab.page.reload()
    await expect(tab["#text"]).to_have_value("not yet\nsaid")
    await tab["#text"].press("Shift+Enter")
    await tab["#text"].type("!")
    await tab["#text"].press("Enter")
    await tab.done()
    assert (await tab.transcript())[0][0] == "user"
    assert await tab["#messages .user .body"].inner_text() == "not yet\nsaid\n!"
    await expect(tab["#text"]).to_have_value("")
