"""The page over HTTP: what is served, under which headers, and where its third-party modules come from."""

from __future__ import annotations

import hashlib
import http.client
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from app.playground.assets import INDEX, MANUAL, STATIC, load
from tests.support.server import ParleyServer

VENDORED = [STATIC / "vendor" / "VENDORED.md", Path(__file__).parent / "vendor" / "VENDORED.md"]
OWN = sorted(path for path in STATIC.iterdir() if path.is_file())


def get(site: ParleyServer, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", site.port, timeout=10)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_the_page_may_do_nothing_but_what_it_needs(site: ParleyServer) -> None:
    for path in ("/", "/playground/main.js", "/playground/nothing.js"):
        _, headers, _ = get(site, path)
        policy = dict(rule.split(" ", 1) for rule in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert {rule: sources for rule, sources in policy.items() if "unsafe" in sources or "*" in sources} == {}
        assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"


def test_every_file_is_served_as_what_it_is(site: ParleyServer) -> None:
    files = load()
    assert get(site, "/")[2] == files.pop(INDEX).body
    del files[MANUAL]
    for path, asset in files.items():
        status, headers, body = get(site, f"/playground/{path}")
        assert (status, headers["content-type"], body) == (200, asset.media_type, asset.body)


def test_an_unchanged_file_is_not_sent_again(site: ParleyServer) -> None:
    _, headers, _ = get(site, "/playground/main.js")
    assert headers["cache-control"] == "no-cache"
    status, again, body = get(site, "/playground/main.js", **{"If-None-Match": f'"other", {headers["etag"]}'})
    assert (status, again["etag"], body) == (304, headers["etag"], b"")
    assert get(site, "/playground/main.js", **{"If-None-Match": '"other"'})[0] == 200


@pytest.mark.parametrize("path", ["../assets.py", "%2e%2e/assets.py", "..%2fassets.py", "/etc/passwd", "vendor", ""])
def test_nothing_else_is_served(site: ParleyServer, path: str) -> None:
    assert get(site, f"/playground/{path}")[0] == 404


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_no_other_host_is_named(path: Path) -> None:
    named = set(re.findall(r"https?://[^\s\"'`)]+", path.read_text()))
    assert named <= {"http://www.w3.org/2000/svg"}


def rows(page: Path) -> Iterator[tuple[Path, list[str]]]:
    for line in page.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 6 and cells[0] not in {"file", "---"}:
            yield page.parent / cells[0], cells


@pytest.mark.parametrize("page", VENDORED, ids=["page", "tests"])
def test_what_is_vendored_is_what_was_published(page: Path) -> None:
    listed = dict(rows(page))
    for path, (_, _, version, _, licence, digest) in listed.items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == digest, path.name
        assert version in path.read_text(), path.name
        for text in re.findall(r"\S+\.txt", licence):
            assert (page.parent / text).exists(), text
    notes = {path for path in page.parent.iterdir() if path.suffix in {".md", ".txt"}}
    assert set(page.parent.iterdir()) - notes == set(listed)


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_files_stay_short(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert len(lines) <= 300
    assert max(map(len, lines)) <= 120 or path.suffix in {".html", ".css", ".svg"}
