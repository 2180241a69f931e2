"""The agent that knows the documentation: what it names, what it quotes, and that names in it stay text."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest
from markdown_it import MarkdownIt
from typing_extensions import override

from tests.conftest import StartServer
from tests.support.server import ROOT, ParleyServer
from tests.support.wire import WireClient, assert_turns_end_once, ends, transcript

QUESTIONS = [
    ("how do I offload blocking code?", "docs/guide.md", "make_async"),
    ("How can I cancel a call that runs in a thread?", "docs/sync-async.md", "abandoned"),
    ("what does close code 4409 mean?", "docs/protocol.md", "input counter skipped"),
    ("what survives kill -9 of the store?", "docs/guarantees.md", "everysec"),
    ("what is PARLEY_DELTA_WINDOW_MS for?", "docs/settings.md", "PARLEY_DELTA_WINDOW_MS"),
    ("Can I use a Redis of my own?", "docs/operations.md", "REDIS_URL"),
    ("why is there only one store?", "docs/decisions.md", "laptop"),
    ("how do I keep values between messages?", "docs/guide.md", "user_session"),
    ("how do I drain a server?", "docs/operations.md", "SIGTERM"),
    ("what is Parley?", "README.md", "conversational agents"),
]


@pytest.fixture(scope="module")
def parley(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ParleyServer]:
    """A server with the agents of the repository."""
    with ParleyServer(tmp_path_factory.mktemp("docs")) as server:
        yield server


async def ask(server: ParleyServer, *questions: str) -> list[str]:
    async with await WireClient.connect(server.ws_url) as client:
        await client.hello(agent="docs")
        for question in questions:
            await client.count("message", content=question)
            last = (await client.collect(ends()))[-1]
            assert last["events"][-1]["type"] == "RUN_FINISHED"
        assert_turns_end_once(client.frames)
        return [text for role, text in transcript(client.frames) if role == "assistant"]


def source(answer: str) -> str:
    (line,) = [line for line in answer.splitlines() if line.startswith("Source: ")]
    return line


@pytest.mark.parametrize(("question", "document", "word"), QUESTIONS)
async def test_the_document_an_answer_stands_in_is_named_and_quoted(
    parley: ParleyServer, question: str, document: str, word: str
) -> None:
    (answer,) = await ask(parley, question)
    assert f"`{document}`" in source(answer)
    assert f"]({document}" in source(answer)
    quoted = [line for line in answer.splitlines() if line.startswith(">")]
    assert any(word in line for line in quoted), answer
    assert len(answer) < 4_000


def test_from_the_command_line(parley: ParleyServer) -> None:
    command = [sys.executable, "-m", "app", "chat", parley.url, "--agent", "docs"]
    command += ["--once", "how do I offload blocking code?"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert "make_async" in done.stdout
    assert "docs/guide.md" in done.stdout


async def test_what_is_nowhere_is_not_made_up(parley: ParleyServer) -> None:
    for question in ("what is the capital of France?", "which pizza oven bakes best in a store?", "why?", "???", ""):
        (answer,) = await ask(parley, question)
        assert "found nothing" in answer
        assert "Source" not in answer


async def test_no_question_is_taken_for_a_query_or_is_too_long(parley: ParleyServer) -> None:
    queries = ['"', '""', "lease OR", "NOT lease", "NEAR(lease turn, 2)", "text : lease", "^lease", "lease + turn"]
    queries += ["(lease", "{lease} : turn", "-lease", "lease*", "\u0000lease", "____", "le\u0301ase \U0001f9ff"]
    long = ["lease " * 40_000, " ".join(f"word{n}" for n in range(1000))]
    answers = await ask(parley, *queries, *long)
    assert len(answers) == len(queries) + len(long)
    assert all("`docs/" in answer for answer in (answers[2], answers[9], answers[-2]))


async def test_links_lead_to_what_is_there(parley: ParleyServer) -> None:
    answers = await ask(parley, *(question for question, _, _ in QUESTIONS))
    found = [target for answer in answers for target in targets(answer)]
    assert len(found) > len(QUESTIONS)
    async with httpx.AsyncClient(base_url=parley.url, trust_env=False) as http:
        for target in found:
            path, _, anchor = target.partition("#")
            text = (ROOT / path).read_text()
            assert not anchor or anchor in anchors(text), target
            assert (await http.get(f"/{path}")).text == text


def targets(markdown: str) -> list[str]:
    """Where the links of a text lead that lead to no other host."""
    found = Tags(markdown).attributes("a", "href")
    return [target for target in found if "://" not in target]


def anchors(text: str) -> set[str]:
    headings = [line.lstrip("# ").lower() for line in text.splitlines() if line.startswith("#")]
    return {"".join(c for c in h if c.isalnum() or c in "_ -").replace(" ", "-") for h in headings}


class Tags(HTMLParser):
    """The elements of a text that a renderer makes which lets raw HTML pass: the least careful one there is."""

    def __init__(self, markdown: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(MarkdownIt("commonmark").render(markdown))

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    @override
    def handle_data(self, data: str) -> None:
        self.text += data

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] or "" for found, attrs in self.found if found == tag and name in attrs]


# ---- a folder of its own

PAYLOADS = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)<script>",
    "](javascript:alert(1)) [",
    "`<b>x</b>`",
    "&lt;img src=x onerror=alert(1)&gt;",
    "[x](javascript:alert(1))",
    "![x](data:text;html,x)",
    "**bold** _it_ ~~s~~ | a",
    '"onmouseover="alert(1)',
    "\\<b>\\",
    "two\nlines\n\n# heading",
    "<!-- x",
]


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with the agent alone."""
    (tmp_path / "handlers").mkdir()
    shutil.copy(ROOT / "handlers" / "docs.py", tmp_path / "handlers")
    return tmp_path


async def test_names_and_headings_are_text_whatever_they_are(elsewhere: Path, server: StartServer) -> None:
    (elsewhere / "docs").mkdir()
    for number, payload in enumerate(PAYLOADS):
        heading = " ".join(payload.split())
        page = f"# {heading}\n\n## {heading}\n\nThe word{number}word is here.\n"
        (elsewhere / "docs" / f"{payload.replace('/', '')}.md").write_text(page)
    made = server(elsewhere / "handlers")
    answers = await ask(made, *(f"word{number}word" for number in range(len(PAYLOADS))))
    for payload, answer in zip(PAYLOADS, answers, strict=True):
        tags = Tags(answer)
        assert {tag for tag, _ in tags.found} <= {"p", "a", "code", "blockquote"}, answer
        assert all(target.startswith("docs/") for target in tags.attributes("a", "href")), answer
        shown = " ".join(payload.replace("/", "").split()).replace("`", "'")
        assert f"docs/{shown}.md" in tags.text, answer
        assert " ".join(payload.replace("`", "").split()) in tags.text, answer


async def test_without_documents_it_says_so(elsewhere: Path, server: StartServer) -> None:
    (answer,) = await ask(server(elsewhere / "handlers"), "how do I offload blocking code?")
    assert "not here" in answer
    assert "docs/" in answer


async def test_a_long_table_is_quoted_by_its_matching_rows_and_code_stays_whole(
    elsewhere: Path, server: StartServer
) -> None:
    rows = "\n".join(f"| `name{n}` | what name{n} does, in some more words than needed |" for n in range(200))
    code = "\n".join(f"line_{n} = {n}" for n in range(400))
    page = f"# A page\n\nBefore.\n\n| a | b |\n| --- | --- |\n{rows}\n\nAfter.\n\n"
    (elsewhere / "README.md").write_text(f"{page}## Code\n\n```python\n# no heading\n{code}\n```\n")
    table, listing = await ask(server(elsewhere / "handlers"), "what is name177?", "heading code")
    assert "> | a | b |\n> | --- | --- |\n> | `name177` |" in table
    assert source(table).endswith("](README.md)")
    assert len(table) < 3_000
    assert "> # no heading\n" in listing
    assert listing.count("> ```") == 2
    assert "README.md#code" in listing
