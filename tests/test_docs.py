"""The documentation is true: what it links to and names is there, what it lists is complete, its examples run.

A code block's first line says what is done with it: `python agent NAME` is loaded as an agent and talked to,
`python run` is a program of its own, `python program` has a `main(url)`; `json client`, `json server` and
`json event` are frames and events of the protocol. Every Python block must at least compile.
"""

from __future__ import annotations

import ast
import json
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from ag_ui.core import Event
from pydantic import TypeAdapter

import app
from app.cli import cli
from app.client import connect
from app.protocol import codec, events
from app.protocol.close import CloseCode
from app.runtime.loading import load
from app.settings import Settings
from tests.conftest import StartServer

ROOT = Path(__file__).parent.parent
PROTOCOL = ROOT / "docs" / "protocol.md"


class Block(NamedTuple):
    """A fenced block of a page, and the line it begins at."""

    page: str
    line: int
    info: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def pages() -> dict[str, str]:
    found = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
    return {str(path.relative_to(ROOT)): path.read_text() for path in found}


def blocks(info: str) -> list[Block]:
    """The blocks whose first line begins with these words."""
    fence = re.compile(r"^```(\S.*)\n((?:.*\n)*?)```$", re.MULTILINE)
    return [
        Block(page, text.count("\n", 0, found.start()) + 1, found[1], found[2])
        for page, text in pages().items()
        for found in fence.finditer(text)
        if found[1].split()[: len(info.split())] == info.split()
    ]


def prose(page: str) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", pages()[page], flags=re.MULTILINE | re.DOTALL)


def examples(info: str) -> list[Any]:
    """The JSON objects of such blocks of docs/protocol.md, which stand there one after the other."""
    found = []
    for block in blocks(info):
        rest = block.text.strip()
        while rest:
            value, end = json.JSONDecoder().raw_decode(rest)
            found.append(value)
            rest = rest[end:].strip()
    return found


def table(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of docs/protocol.md, without backticks."""
    section = PROTOCOL.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip().replace("`", "") for cell in row] for row in rows[2:]]


# ---- links and names


@pytest.mark.parametrize("page", pages())
def test_relative_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page} links to {target}"
        assert not anchor or anchor in anchors(file.read_text()), f"{page} links to {target}"


def anchors(text: str) -> set[str]:
    """The anchors that headings get: lower case, words joined by hyphens, punctuation gone."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages())
def test_files_that_are_named_exist(page: str) -> None:
    named = set(re.findall(r"`((?:app|tests|tools|requirements)/[\w./-]+)`", prose(page)))
    assert {name for name in named if not (ROOT / name).exists()} == set()


@pytest.mark.parametrize("page", pages())
def test_settings_that_are_named_exist(page: str) -> None:
    known = {f"PARLEY_{name.upper()}" for name in Settings.model_fields} | {"PARLEY_TOKEN"}
    assert set(re.findall(r"PARLEY_[A-Z_]+", pages()[page])) - known == set()


@pytest.mark.parametrize("page", pages())
def test_names_of_the_authors_api_exist(page: str) -> None:
    assert set(re.findall(r"\bcl\.(\w+)", pages()[page])) - set(app.__all__) == set()


def test_the_whole_authors_api_is_documented() -> None:
    text = pages()["docs/api.md"]
    assert {name for name in app.__all__ if not re.search(rf"`(?:@|await )?{name}\b", text)} == set()


@pytest.mark.parametrize("block", blocks("sh"), ids=lambda block: block.name)
def test_commands_and_their_flags_exist(block: Block) -> None:
    commands: dict[str, Any] = getattr(typer.main.get_command(cli), "commands")  # noqa: B009  # a group has them
    for command, rest in re.findall(r"\.venv/bin/parley (\w+)(.*)", block.text):
        known = {flag for parameter in commands[command].params for flag in parameter.opts}
        assert set(re.findall(r"--[\w-]+", rest)) <= known, f"parley {command}{rest}"
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"^make (\w+)", block.text, re.MULTILINE)) <= set(targets)


def test_the_example_of_an_env_has_what_compose_takes_and_knows_no_other_setting() -> None:
    example = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    compose = (ROOT / "docker-compose.yml").read_text()
    assert set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", compose)) - example == set()
    settings = {f"PARLEY_{name.upper()}" for name in Settings.model_fields}
    assert {name for name in example if name.startswith("PARLEY_")} - settings == set()


# ---- what is listed is what there is


def test_settings_table_is_current() -> None:
    script = [sys.executable, str(ROOT / "tools" / "settings_table.py")]
    made = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert pages()["docs/settings.md"] == made, "make it anew, as it says itself"


def test_close_codes_are_listed() -> None:
    listed = [(int(row[0]), row[1], row[2]) for row in table("Close codes")]
    assert listed == [(int(code), code.reason, "yes" if code.reconnect else "no") for code in CloseCode]


def test_error_codes_are_listed() -> None:
    listed = [row[0] for row in table("Error codes")]
    assert sorted(listed) == sorted(error_codes())


def test_reasons_of_a_bye_are_listed() -> None:
    sentence = re.search(r"A `bye` has .* reasons: (.*)", pages()["docs/protocol.md"])
    assert sentence is not None
    calls = (node for tree in sources() for node in ast.walk(tree) if isinstance(node, ast.Call))
    used = {argument for call in calls if ends_in(call.func, "bye") for argument in strings(call.args)}
    assert set(re.findall(r"`(\w+)`", sentence[1])) == used


def test_codes_of_a_failed_turn_are_listed() -> None:
    section = PROTOCOL.read_text().split("**A turn ends.**")[1].split("**A message is shown.**")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == events.RUN_ERROR_CODES


def sources() -> Iterator[ast.Module]:
    """The modules that answer a client."""
    for path in [*ROOT.glob("app/gateway/*.py"), Path(codec.__file__)]:
        yield ast.parse(path.read_bytes())


def error_codes() -> set[str]:
    """The codes in these modules: behind a close code, of a ProtocolError, of a refusal, or returned with a message."""
    found = set()
    for node in (node for tree in sources() for node in ast.walk(tree)):
        match node:
            case ast.Call(func=ast.Attribute(attr="bye")):
                continue
            case ast.Call(func=ast.Name(id="ProtocolError"), args=[ast.Constant(value=str(code)), *_]):
                found.add(code)
            case ast.Call(
                func=ast.Attribute(attr="_refuse" | "_say" | "error"), args=[_, ast.Constant(value=str(code)), *_]
            ):
                found.add(code)
            case ast.Return(value=ast.Tuple(elts=[ast.Constant(value=str(code)), _])):
                found.add(code)
            case ast.Tuple(elts=[ast.Attribute(value=ast.Name(id="CloseCode")), ast.Constant(value=str(code)), *_]):
                found.add(code)
    return found


def ends_in(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == name


def strings(nodes: list[ast.expr]) -> list[str]:
    return [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]


# ---- the protocol's frames and events


def test_frames_are_shown_and_valid() -> None:
    of_clients = [codec.decode(json.dumps(frame)).type for frame in examples("json client")]
    of_servers = [codec.decode_server(json.dumps(frame)).type for frame in examples("json server")]
    assert set(of_clients) == set(codec._CLIENT)
    assert set(of_servers) == set(codec._SERVER)


def test_members_of_frames_are_listed() -> None:
    listed: dict[str, str] = {}
    kind = ""
    for line in PROTOCOL.read_text().splitlines():
        if row := re.match(r"\| (?:`(\w+)`)? ?\|(.*)", line):
            kind = row[1] or kind
            listed[kind] = listed.get(kind, "") + row[2]
    for kind, model in {**codec._CLIENT, **codec._SERVER}.items():
        members = {field.alias or name for name, field in model.model_fields.items()} - {"type"}
        missing = {name for name in members if not re.search(rf"`{name}\??`", listed[kind])}
        assert missing == set(), f"of {kind}"


def test_events_are_shown_and_valid() -> None:
    shown = examples("json event")
    for frame in examples("json server"):
        shown += frame.get("events", [])
    for event in shown:
        TypeAdapter(Event).validate_python(event)
        assert event.keys() <= events.FIELDS[event["type"]], event
    assert {event["type"] for event in shown} == events.FIELDS.keys()
    made = re.findall(r"_custom\(\"(\w+)\"", Path(events.__file__).read_text())
    assert {event["name"] for event in shown if event["type"] == "CUSTOM"} == {f"parley.{name}" for name in made}


# ---- examples


@pytest.mark.parametrize("block", blocks("python"), ids=lambda block: block.name)
def test_python_compiles_and_imports_what_there_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "app":
            module = import_module(node.module or "")
            assert {alias.name for alias in node.names if not hasattr(module, alias.name)} == set()


@pytest.fixture
def agents(tmp_path: Path) -> Path:
    """A handlers folder with every agent of the documentation."""
    folder = tmp_path / "handlers"
    folder.mkdir()
    for block in blocks("python agent"):
        (folder / f"{block.info.split()[2]}.py").write_text(block.text)
    return folder


def test_agents_load_and_say_what_they_are(agents: Path) -> None:
    loaded = load(agents).agents
    assert len(loaded) == len(blocks("python agent"))
    assert [agent.name for agent in loaded.values() if not agent.description] == []


async def test_agents_answer(agents: Path, server: StartServer) -> None:
    url = server(agents).url
    said = {}
    for name in load(agents).agents:
        async with connect(url, agent=name) as client:
            said[name] = await client.ask("hello")
    assert said["echo"] == "Received: hello"
    assert [name for name, text in said.items() if not text] == []


@pytest.mark.parametrize("block", blocks("python program"), ids=lambda block: block.name)
async def test_programs_work(block: Block, server: StartServer, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(block.text)
    program = runpy.run_path(str(tmp_path / "program.py"))
    assert await program["main"](server().url) == "Received: hello"


@pytest.mark.parametrize("block", blocks("python run"), ids=lambda block: block.name)
def test_scripts_run(block: Block) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", block.text], cwd=ROOT, check=True, timeout=60)
