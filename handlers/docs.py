"""Answers questions about Parley from its own documentation, and says where the answer stands."""

from __future__ import annotations

import os
import posixpath
import re
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import app as cl

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds README.md and docs/."""
LONGEST_QUESTION = 2_000
"""Characters of a question that are looked at."""
MOST_TERMS = 24
"""Words of a question that are looked for."""
EXCERPT = 1_600
"""Characters of a quotation, about."""
SEE_ALSO = 2
"""Further places that are named."""
STOP_WORDS = frozenset(
    """
    a about again all also am an and any are as at be been between but by can could did do does doing for from get
    give had has happens have how i if in into is it its just like make many may me mean means more much my need
    no not of off on one or our out parley please say should show so some take tell than that the their them then
    there these they this to too up us use used using want was way we were what when where which while who whose
    why will with work works would you your
    """.split()  # noqa: SIM905  # a list of so many would be a page long
)
"""Words that tell nothing of what a question is about."""
FENCES = ("```", "~~~")
GENERATED = re.compile(r"<!-- figures: .*?<!-- end of figures -->", re.DOTALL)
"""Pages of figures, which name a thing in every line and explain none."""
NOTHING = 'I found nothing about that in the documentation. I look for words: try others, as in "how do I stop a turn?"'
MISSING = "The documentation is not here: I look for README.md and docs/ beside the folder of the handlers."


class Section(NamedTuple):
    """What stands under one heading. `headings` leads to it, the page's own title first."""

    page: str
    headings: tuple[str, ...]
    text: str


class Docs:
    """The pages of a folder, found by the words in their sections."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._sections: list[Section] = []
        self._lock = threading.Lock()  # the executor's threads share the connection
        self._database = sqlite3.connect(":memory:", check_same_thread=False)

    def read(self) -> None:
        """Read all pages anew."""
        pages = [path for path in (self._root / "README.md", *sorted(self._root.glob("docs/*.md"))) if path.is_file()]
        self._sections = [section for path in pages for section in sections(self._name(path), _read(path))]
        with self._lock, self._database as database:
            database.execute("DROP TABLE IF EXISTS sections")
            # porter: an answer may offload what a question calls offloading
            database.execute(
                "CREATE VIRTUAL TABLE sections USING fts5(page, headings, text, tokenize='porter unicode61')"
            )
            rows = [(s.page, " ".join(s.headings), s.text) for s in self._sections]
            database.executemany("INSERT INTO sections VALUES (?, ?, ?)", rows)

    def answer(self, question: str) -> Iterator[str]:
        """The answer in Markdown, line by line."""
        if not self._sections:
            yield MISSING
            return
        wanted = terms(question)
        found = self._find(wanted)
        if not wanted and "parley" in question.casefold():
            found = self._sections[:1]  # what the README begins with
        if not found:
            yield NOTHING
            return
        best, *others = found
        for line in excerpt(best, wanted).splitlines():
            yield f"> {line}\n" if line else ">\n"
        yield f"\nSource: {link(best)}\n"
        if others:
            yield f"\nSee also: {', '.join(link(other) for other in others[:SEE_ALSO])}\n"

    def _find(self, wanted: list[str]) -> list[Section]:
        """Sections with at least half of the words, the best one first."""
        if not wanted:
            return []
        has = Counter(row for term in wanted for (row,) in self._select("rowid", term))
        ranked = self._select("rowid, bm25(sections, 2, 6, 1)", *wanted)
        # bm25 is below 0, and the lower the better
        scores = {row: score * has[row] for row, score in ranked if 2 * has[row] >= len(wanted)}
        return [self._sections[row - 1] for row in sorted(scores, key=lambda row: scores[row])]

    def _select(self, columns: str, *wanted: str) -> list[tuple[int, ...]]:
        match = " OR ".join(f'"{term}"*' for term in wanted)
        with self._lock:
            rows = self._database.execute(f"SELECT {columns} FROM sections WHERE sections MATCH ?", (match,))  # noqa: S608
            return rows.fetchall()

    def _name(self, path: Path) -> str:
        # a name may be any bytes
        return os.fsencode(path.relative_to(self._root).as_posix()).decode(errors="replace")


def terms(question: str) -> list[str]:
    """The words of a question that say what it is about; `make_async` is one."""
    words = re.findall(r"\w+", question[:LONGEST_QUESTION].casefold())
    wanted = [word.strip("_") for word in words if word not in STOP_WORDS]
    return list(dict.fromkeys(word for word in wanted if word))[:MOST_TERMS]


def sections(page: str, text: str) -> Iterator[Section]:
    """What a page says, cut at its headings."""
    headings: list[str] = []
    lines: list[str] = []
    for line, is_code in marked(text):
        heading = None if is_code else re.match(r"(#{1,6})\s+(.*?)[\s#]*$", line)
        if heading is None:
            lines.append(line)
            continue
        yield from _section(page, headings, lines)
        headings, lines = [*headings[: len(heading[1]) - 1], heading[2]], []
    yield from _section(page, headings, lines)


def _section(page: str, headings: list[str], lines: list[str]) -> Iterator[Section]:
    if text := "\n".join(lines).strip():
        yield Section(page, tuple(headings), text)


def marked(text: str) -> Iterator[tuple[str, bool]]:
    """Each line, and whether it belongs to a block of code."""
    fence = ""
    for line in text.splitlines():
        mark = re.match(r" {0,3}(`{3,}|~{3,})", line)
        was_code = bool(fence)
        if mark and (not fence or mark[1].startswith(fence)):
            fence = "" if fence else mark[1]
        yield line, was_code or bool(fence)


def _read(path: Path) -> str:
    return GENERATED.sub("", path.read_text(encoding="utf-8", errors="replace"))


# ---- quoting


def excerpt(section: Section, wanted: list[str]) -> str:
    """A section, or if it is long what surrounds the block in it that has most of the words."""
    blocks = [_with_links(block, section.page) for block in _blocks(section.text)]
    best = max(range(len(blocks)), key=lambda at: _hits(blocks[at], wanted))
    first, last = best, best
    shown = _shortened(blocks[best], wanted)
    # what leads up to a block explains it, so that comes first
    while first and len(shown) + len(blocks[first - 1]) < EXCERPT:
        first -= 1
        shown = f"{blocks[first]}\n\n{shown}"
    while last + 1 < len(blocks) and len(shown) + len(blocks[last + 1]) < EXCERPT:
        last += 1
        shown = f"{shown}\n\n{blocks[last]}"
    is_cut = last + 1 < len(blocks) or len(blocks[best]) > EXCERPT
    return ("…\n\n" if first else "") + shown + ("\n\n…" if is_cut else "")


def _blocks(text: str) -> Iterator[str]:
    """Blocks of code, and what stands between blank lines."""
    for is_code, pairs in groupby(marked(text), key=itemgetter(1)):
        block = "\n".join(line for line, _ in pairs)
        yield from [block] if is_code else (part.strip("\n") for part in re.split(r"\n\s*\n", block) if part.strip())


def _hits(block: str, wanted: list[str]) -> int:
    # the first letters stand for what stemming does; the whole word counts twice
    text = block.casefold()
    return sum((term[:5] in text) + (term in text) for term in wanted)


def _shortened(block: str, wanted: list[str]) -> str:
    """A block that is not too long: of a table the rows with the words, of others the beginning."""
    if len(block) <= EXCERPT:
        return block
    lines = block.splitlines()
    if block.startswith("|"):
        head, rows = lines[:2], lines[2:]
        lines = head + sorted(rows, key=lambda row: -_hits(row, wanted))
    kept: list[str] = []
    size = 0
    for line in lines:
        size += len(line)
        if size > EXCERPT and kept:
            break
        kept.append(line[:EXCERPT])
    if block.startswith(FENCES):
        kept.append(lines[-1])
    return "\n".join(kept)


def _with_links(block: str, page: str) -> str:
    """A block whose links to other pages lead there from the root too."""
    if block.startswith(FENCES):
        return block
    folder = posixpath.dirname(page)

    def from_root(found: re.Match[str]) -> str:
        target = found[2]
        whole = quote(page) + target if target.startswith("#") else posixpath.join(folder, target)
        return found[1] + posixpath.normpath(whole)

    return re.sub(r"(\]\()(?![a-z]+:|/)([^)\s]+)", from_root, block)


def link(section: Section) -> str:
    """A link to a section, named by its page and the headings that lead to it."""
    headings = section.headings[1:] or section.headings
    page = _plain(section.page).replace("`", "'")
    name = " › ".join((f"`{page}`", *map(_escaped, headings)))  # noqa: RUF001
    anchor = re.sub(r"[^\w -]", "", headings[-1].lower()).replace(" ", "-") if len(section.headings) > 1 else ""
    return f"[{name}]({quote(section.page)}{'#' + quote(anchor) if anchor else ''})"


def _escaped(text: str) -> str:
    """A text that stands in Markdown for itself."""
    return re.sub(r"([\\`*_\[\]<>&!|~])", r"\\\1", _plain(text.replace("`", "")))


def _plain(text: str) -> str:
    return " ".join(text.split())


# ---- the agent

docs = Docs(ROOT)
answer_to = cl.make_async(docs.answer)


@cl.on_app_startup
def startup() -> None:
    """Read the pages; a `def` handler runs in a thread, so it may block."""
    docs.read()


@cl.on_message
async def main(message: cl.Message) -> None:
    """Quote what the documentation says."""
    answer = cl.Message()
    async for line in answer_to(message.content):
        await answer.stream_token(line)
    await answer.send()
