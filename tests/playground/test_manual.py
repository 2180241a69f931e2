"""The documentation in the browser: the links of an answer lead to the very place, and nothing in a page runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.playground.chromium import Tab, open_tab
from tests.playground.conftest import Desk
from tests.playground.payloads import PAYLOADS
from tests.playground.test_look import AXE, LOOKS, SIZES, Look
from tests.playground.test_safety import DANGERS
from tests.support.server import ROOT, ParleyServer
from tests.test_docs import anchors, pages, prose

pytestmark = pytest.mark.asyncio(loop_scope="session")

NAMES = [f"{n} {' '.join(payload.replace('/', '').split())}"[:100] for n, payload in enumerate(PAYLOADS)]
"""The payloads as names of files."""

ANCHORS = "headings => headings.map(({ id }) => id)"
IN_VIEW = """heading => {
    const { top, bottom } = heading.getBoundingClientRect();
    return top >= document.querySelector('.top').offsetHeight && bottom <= innerHeight;
}"""


@pytest.fixture(scope="module")
def parley(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    """A server with the agents and the documentation of the repository."""
    with ParleyServer(tmp_path_factory.mktemp("manual")) as server:
        yield server


async def shown(tab: Tab) -> None:
    await expect(tab["article h3"].first).to_be_visible()


async def test_the_links_of_an_answer_lead_to_the_place(desk: Desk, parley: ParleyServer) -> None:
    tab = await desk.tab(parley, "docs")
    await tab.say("how do I offload blocking code?")
    await tab.sees("See also")
    await tab.done()
    links = tab["#messages .agent a[href^='docs/']"]
    assert await tab["#messages .agent a[href*='#']"].count() >= 2
    for link in await links.all():
        async with tab.page.context.expect_page() as opened:
            await link.click()
        manual = Tab(await opened.value)
        await shown(manual)
        if anchor := manual.page.url.partition("#")[2]:
            assert await manual[f"[id='{anchor}']"].evaluate(IN_VIEW), manual.page.url


async def test_every_page_has_the_anchors_that_links_know(desk: Desk, parley: ParleyServer) -> None:
    tab = await open_tab(await desk.context(parley), f"{parley.url}/README.md")
    for page in pages():
        await tab["nav"].get_by_role("link", name=page, exact=True).click()
        await tab.page.wait_for_url(f"**/{page}")
        await shown(tab)
        ids = await tab["article :is(h3, h4, h5, h6)"].evaluate_all(ANCHORS)
        assert set(ids) == anchors(prose(page))
        assert len(tab.page.context.pages) == 1


async def test_links_to_what_is_not_here_are_words(desk: Desk, parley: ParleyServer) -> None:
    tab = await open_tab(await desk.context(parley), f"{parley.url}/README.md")
    await shown(tab)
    assert "](LICENSE)" in pages()["README.md"]
    await expect(tab["article a[href*='LICENSE']"]).to_have_count(0)
    for link in await tab["article a:not([target])"].all():
        path = await link.evaluate("link => link.pathname")
        assert (await tab.page.context.request.get(parley.url + path)).ok, path


@pytest.mark.parametrize(("size", "scheme"), LOOKS, ids=[f"{size}-{scheme}" for size, scheme in LOOKS])
async def test_the_pages_in_every_look(
    desk: Desk, parley: ParleyServer, tmp_path: Path, size: str, scheme: Any
) -> None:
    context = await desk.context(parley, viewport=SIZES[size], color_scheme=scheme)
    for page in ("README.md", "docs/protocol.md"):
        tab = await open_tab(context, f"{parley.url}/{page}")
        await shown(tab)
        await tab.page.evaluate(AXE)
        await Look(tab, tmp_path).at(Path(page).stem)


async def test_code_is_copied(desk: Desk, parley: ParleyServer) -> None:
    context = await desk.context(parley, permissions=["clipboard-read", "clipboard-write"])
    tab = await open_tab(context, f"{parley.url}/docs/guide.md")
    await tab["article .copy"].first.click()
    await expect(tab["article .copy"].first).to_have_text("Copied")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    """A server whose pages have names and contents that try to run something."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "docs").mkdir()
    (root / "handlers").mkdir()
    shutil.copy(ROOT / "handlers" / "docs.py", root / "handlers")
    for number, name in enumerate(NAMES):
        (root / "docs" / f"{name}.md").write_text(f"# {PAYLOADS[number]}\n\nThe word{number}word is here.\n")
    text = "\n\n".join(f"# {' '.join(payload.split())}\n\n{payload}" for payload in PAYLOADS)
    (root / "docs" / "all.md").write_text(text)
    with ParleyServer(root, root / "handlers") as server:
        yield server


async def test_nothing_runs_in_a_page_or_in_its_name(desk: Desk, hostile: ParleyServer) -> None:
    tab = await open_tab(await desk.context(hostile), f"{hostile.url}/docs/all.md")
    # every page has the names of all
    await expect(tab["nav a"]).to_have_count(len(NAMES) + 1)
    for number in range(3):
        await expect(tab["article > *"]).not_to_have_count(0)
        assert await tab["article"].evaluate(DANGERS) == []
        assert await tab["nav"].evaluate(DANGERS) == []
        await tab["nav a"].nth(number * 7).click()
        await expect(tab["nav a"].nth(number * 7)).to_have_attribute("aria-current", "page")


async def test_nothing_runs_in_an_answer_that_names_a_page(desk: Desk, hostile: ParleyServer) -> None:
    tab = await desk.tab(hostile, "docs")
    for number in range(len(NAMES)):
        await tab.say(f"word{number}word")
    await expect(tab.answers()).to_have_count(len(NAMES))
    await tab.done()
    assert await tab["#messages"].evaluate(DANGERS) == []
    for name, answer in zip(NAMES, await tab.answers().all_inner_texts(), strict=True):
        shown = name.replace("`", "'")
        assert f"docs/{shown}.md" in " ".join(answer.split())
