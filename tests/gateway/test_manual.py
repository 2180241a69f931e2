"""The documentation over HTTP: only its pages, only for whoever may talk, as Markdown or in a page that shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import jwt
import pytest
from starlette.applications import Starlette

from app.gateway.auth import Authenticator
from app.gateway.manual import Manual
from tests.gateway.conftest import Settle

SECRET = "a secret of more than thirty-two bytes, and of more than sixty-four"
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
README = "# A project\n\nSee [the guide](docs/guide.md).\n"
GUIDE = "# The guide\n"

Open = Callable[..., httpx.AsyncClient]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with two pages, and files that are none."""
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "secret.md").write_text("secret")
    (tmp_path / "docs" / "inner").mkdir(parents=True)
    (tmp_path / "docs" / "guide.md").write_text(GUIDE)
    (tmp_path / "docs" / "secret.txt").write_text("secret")
    (tmp_path / "docs" / "inner" / "secret.md").write_text("secret")
    (tmp_path / "docs" / "folder.md").mkdir()
    return tmp_path


@pytest.fixture
def visit(root: Path, settle: Settle) -> Open:
    """Clients of an application that has nothing but the pages."""

    def make(folder: Path = root, **settings: object) -> httpx.AsyncClient:
        settled = settle(**settings)
        app = Starlette(routes=Manual(folder, Authenticator(settled), settled).routes())
        return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000")

    return make


async def test_programs_get_the_markdown_and_browsers_a_page(visit: Open) -> None:
    async with visit() as http:
        for path, text, root in (("/README.md", README, ""), ("/docs/guide.md", GUIDE, "../")):
            plain, page = await http.get(path), await http.get(path, headers=BROWSER)
            assert (plain.text, plain.headers["content-type"]) == (text, "text/markdown; charset=utf-8")
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            assert f'src="{root}playground/manual.js"' in page.text
            assert f'<a href="{root}{path[1:]}" aria-current="page">{path[1:]}</a>' in page.text
            assert page.text.count("<li>") == 2
            assert plain.headers["vary"] == page.headers["vary"] == "Accept"
            assert plain.headers["etag"] != page.headers["etag"]


async def test_what_is_served_is_fenced_in(visit: Open) -> None:
    async with visit() as http:
        for path in ("/README.md", "/docs/guide.md", "/docs/none.md"):
            for headers in ({}, BROWSER):
                answer = await http.get(path, headers=headers)
                assert "default-src 'none'" in answer.headers["content-security-policy"]
                assert "unsafe" not in answer.headers["content-security-policy"]
                assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path",
    [
        *("secret.txt", "inner/secret.md", "../secret.md", "%2e%2e/secret.md", "..%2fsecret.md", "guide.md/"),
        *("", "folder.md", "guide", "/guide.md", "..%2f..%2fetc%2fpasswd", "%00guide.md"),
    ],
)
async def test_nothing_else_is_served(visit: Open, path: str) -> None:
    async with visit() as http:
        url = httpx.URL("http://127.0.0.1:8000").copy_with(raw_path=f"/docs/{path}".encode())
        answer = await http.get(url)
    assert answer.status_code == 404
    assert "secret" not in answer.text


async def test_where_there_are_no_pages_there_are_no_routes(visit: Open, root: Path) -> None:
    async with visit(root / "docs" / "inner") as http:
        assert (await http.get("/docs/guide.md")).status_code == 404
        assert (await http.get("/README.md")).status_code == 404


async def test_who_may_not_talk_may_not_read(visit: Open) -> None:
    token = jwt.encode({"sub": "ann", "exp": int(time.time()) + 600}, SECRET, "HS256")
    async with visit(auth_jwt_secret=SECRET) as http:
        for headers in ({}, BROWSER):
            refused = await http.get("/docs/guide.md", headers=headers)
            assert refused.status_code == 401
            assert "guide" not in refused.text
        allowed = await http.get("/docs/guide.md", headers={"Authorization": f"Bearer {token}"})
    assert allowed.text == GUIDE


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "https://evil.example"}])
async def test_a_page_elsewhere_may_not_read_it(visit: Open, headers: dict[str, str]) -> None:
    async with visit() as http:
        assert (await http.get("/README.md", headers=headers)).status_code == 403


async def test_an_unchanged_page_is_not_sent_again(visit: Open) -> None:
    async with visit() as http:
        page = await http.get("/docs/guide.md", headers=BROWSER)
        known = {"If-None-Match": page.headers["etag"]}
        assert (await http.get("/docs/guide.md", headers=BROWSER | known)).status_code == 304
        assert (await http.get("/docs/guide.md", headers=known)).status_code == 200
