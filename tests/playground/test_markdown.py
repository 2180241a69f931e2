"""Markdown that streams in ends as if it had come at once, and what is settled is left alone."""

from __future__ import annotations

import pytest
from playwright.async_api import expect

from tests.playground.agents import MARKDOWN
from tests.playground.conftest import Desk
from tests.support.server import ParleyServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

TEXTS = [
    MARKDOWN,
    "one\n\ntwo\n\nthree",
    "1. a\n\n2. b\n\n10. c\n\nafter",
    "- a\n\n  still a\n\n- b\n\n* another list\n",
    "a [link][x] first\n\n---\n\n[x]: https://example.org/x\n",
    "title\n===\n\n| a | b |\n| - | - |\n| c | d |\n\nend\n",
    "```js\nconst a = 1;\n\nconst b = 2;\n```\nafter\n\n    indented\n\n    more\n",
    "> quote\nlazy\n\n> another\n\n# heading\ntext\r\n\r\nwindows\r\n\r\nlines\r\r\rold\r\rmac",
    "***\n\n&amp; &lt;b&gt; \\* <b>not html</b>\n\n\n\n\n  \n\n",
    "",
]

STREAMED = """async (texts) => {
    const { MarkdownView } = await import('/playground/markdown.js');
    return texts.map((text) => {
        const [streamed, whole] = [document.createElement('div'), document.createElement('div')];
        const view = new MarkdownView(streamed);
        for (let end = 0; end <= text.length; end++) view.update(text.slice(0, end), false);
        view.update(text, true);
        new MarkdownView(whole).update(text, true);
        return [streamed.innerHTML, whole.innerHTML];
    });
}"""

LINES = """async (texts) => {
    const { MarkdownView } = await import('/playground/markdown.js');
    const different = [];
    for (const text of texts) {
        const streamed = document.createElement('div');
        const view = new MarkdownView(streamed);
        for (let end = 0; end <= text.length; end++) {
            view.update(text.slice(0, end), false);
            if (text[end - 1] !== '\\n') continue;
            const whole = document.createElement('div');
            new MarkdownView(whole).update(text.slice(0, end), true);
            if (streamed.innerHTML !== whole.innerHTML) different.push(text.slice(0, end));
        }
    }
    return different;
}"""

READ = """async (text) => {
    const { MarkdownView } = await import('/playground/markdown.js');
    const { default: MarkdownIt } = await import('/playground/vendor/markdown-it.mjs');
    const parse = MarkdownIt.prototype.parse;
    let read = 0;
    MarkdownIt.prototype.parse = function (source, env) {
        read += source.length;
        return parse.call(this, source, env);
    };
    const view = new MarkdownView(document.createElement('div'));
    for (let end = 0; end <= text.length; end += 5) view.update(text.slice(0, end), false);
    return read;
}"""

SETTLED = """async (text) => {
    const { MarkdownView } = await import('/playground/markdown.js');
    const element = document.createElement('div');
    const view = new MarkdownView(element);
    const cut = text.indexOf('## A table');
    view.update(text.slice(0, cut), false);
    const before = [...element.children];
    for (let end = cut; end <= text.length; end++) view.update(text.slice(0, end), false);
    view.update(text, true);
    return before.map((node) => node === element.children[before.indexOf(node)]);
}"""

CHANGED = """async ([one, other]) => {
    const { MarkdownView } = await import('/playground/markdown.js');
    const element = document.createElement('div');
    const view = new MarkdownView(element);
    view.update(one, false);
    view.update(other, false);
    return [...element.children].map((block) => block.textContent);
}"""


async def test_streamed_is_as_whole(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site)
    for streamed, whole in await tab.page.evaluate(STREAMED, TEXTS):
        assert streamed == whole


async def test_every_line_stands_as_it_will_stand(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site)
    # what a reference leads to may stand behind it, and is known only then
    texts = [text for text in TEXTS if "]: https://" not in text]
    assert await tab.page.evaluate(LINES, texts) == []


async def test_a_long_text_is_not_read_over_and_over(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site)
    text = "".join(f"paragraph {number} of many\n\n" for number in range(400))
    assert await tab.page.evaluate(READ, text) < 12 * len(text)


async def test_what_is_settled_is_not_rendered_again(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site)
    same = await tab.page.evaluate(SETTLED, MARKDOWN)
    assert len(same) >= 5
    assert all(same)


async def test_a_text_that_is_replaced_while_it_streams(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site)
    assert await tab.page.evaluate(CHANGED, ["a\n\nb\n\nc\n", "x\n\nb\n\nc\n\nlonger\n"]) == ["x", "b", "c", "longer"]


async def test_code_is_copied_and_scrolls(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site, "writer", permissions=["clipboard-read", "clipboard-write"])
    await tab.say("go")
    await tab["#messages .copy"].click()
    await expect(tab["#messages .copy"]).to_have_text("Copied")
    copied = await tab.page.evaluate("() => navigator.clipboard.readText()")
    assert copied.startswith("def fold(log):\n")
    inner, outer = await tab["#messages .code .sideways"].evaluate("box => [box.scrollWidth, box.clientWidth]")
    assert inner > outer
    assert await tab.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
