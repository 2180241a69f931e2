"""Nothing that a user or an agent says can run, load, or look like a part of the page."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import Browser, expect

from tests.playground.chromium import STOPPED, Tab, Watch, new_context, open_tab
from tests.playground.conftest import Desk
from tests.playground.payloads import PAYLOADS, RUN
from tests.support.server import ParleyServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

DANGERS = """(messages) => [...messages.querySelectorAll('*')].flatMap((element) => [
    ...[...element.attributes].filter((a) => /^on/i.test(a.name) || a.name === 'style' || a.name === 'srcdoc')
        .map((a) => `${element.tagName} ${a.name}`),
    ...(/^(script|style|iframe|object|embed|form|input|link|meta|base|svg|math|template)$/i.test(element.tagName)
        ? [element.tagName] : []),
    ...['href', 'src'].filter((name) => element.hasAttribute(name))
        .filter((name) => !/^(https?|mailto):/.test(element[name]))
        .map((name) => `${element.tagName} ${element[name]}`),
])"""
"""What stands in the conversation and should not, whether it did something or not."""

EVERY_PREFIX = """async (texts) => {
    const { MarkdownView } = await import('/playground/markdown.js');
    for (const text of texts) {
        const element = document.createElement('div');
        document.getElementById('messages').append(element);
        const view = new MarkdownView(element);
        for (let end = 0; end <= text.length; end++) view.update(text.slice(0, end), false);
        view.update(text, true);
    }
}"""


SANITISED = """async (texts) => {
    const { sanitised } = await import('/playground/markdown.js');
    for (const text of texts) document.getElementById('messages').append(sanitised(text));
}"""


async def nothing_dangerous(tab: Tab) -> None:
    assert await tab["#messages"].evaluate(DANGERS) == []


async def test_there_are_fifty_payloads() -> None:
    assert len(set(PAYLOADS)) >= 50


@pytest.mark.parametrize("agent", ["echo", "tokens"])
async def test_no_payload_runs(desk: Desk, site: ParleyServer, agent: str) -> None:
    tab = await desk.tab(site, agent)
    for text in PAYLOADS:
        await tab.say(text)
    await tab.sees(re.compile("<svg onload"))
    await tab.done()
    await expect(tab[".message"]).to_have_count(2 * len(PAYLOADS))
    await nothing_dangerous(tab)
    questions = await tab["#messages .user .body"].evaluate_all("all => all.map(body => body.textContent)")
    assert questions == PAYLOADS
    # what is rebuilt from the log is as safe as what came in live
    await tab.page.reload()
    await expect(tab[".message"]).to_have_count(2 * len(PAYLOADS))
    await nothing_dangerous(tab)


async def test_no_beginning_of_a_payload_runs(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site)
    await tab.page.evaluate(EVERY_PREFIX, PAYLOADS)
    await nothing_dangerous(tab)


async def test_the_sanitiser_alone_would_do(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site)
    desk.forgive(STOPPED)
    await tab.page.evaluate(SANITISED, PAYLOADS)
    await nothing_dangerous(tab)


async def test_links_lead_away_safely(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "echo")
    await tab.say("[one](https://example.org/1) https://example.org/2 ![three](https://example.org/3.png)")
    links = tab["#messages .agent a"]
    await expect(links).to_have_text(["one", "https://example.org/2", "three"])
    for number in range(3):
        await expect(links.nth(number)).to_have_attribute("rel", "noopener noreferrer")
        await expect(links.nth(number)).to_have_attribute("target", "_blank")
    await expect(tab["#messages img"]).to_have_count(0)


async def test_the_policy_stops_what_the_renderer_would_let_through(browser: Browser, site: ParleyServer) -> None:
    # the watch must hear of each, or the tests above prove nothing
    watch = Watch(site.url)
    context = await new_context(browser, watch)
    tab = await open_tab(context, site.url)
    await tab.connected()
    page = tab.page
    for forbidden in ("document.body.innerHTML = '<p>'", f"document.body.setAttribute('onclick', '{RUN}')"):
        script = f"() => {{ try {{ {forbidden} }} catch (error) {{ return error.name }} }}"
        assert await page.evaluate(script) == "TypeError"
    await page.evaluate(f"() => import('data:text/javascript,{RUN}').catch(() => null)")
    await page.evaluate("() => { new Image().src = 'https://evil.example/x.png' }")
    await page.evaluate("() => { document.body.setAttribute('style', 'color: red') }")
    heard = [
        "require-trusted-types-for",
        "script-src-elem data",
        "img-src https://evil.example/x.png",
        "style-src-attr",
    ]
    for _ in range(100):
        if all(any(what in complaint for complaint in watch.complaints) for what in heard):
            break
        await asyncio.sleep(0.02)
    for what in heard:
        assert any(what in complaint for complaint in watch.complaints), (what, watch.complaints)
    assert "a script ran" not in watch.complaints
    await page.evaluate(f"() => {{ {RUN} }}")
    assert "a script ran" in watch.complaints
    await context.close()
