"""The agent that profiles CSV files: what it finds, what it shows, its bounds, and what it makes of what is no CSV."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.runtime.loading import load
from tests.conftest import StartServer
from tests.support.server import ROOT, ParleyServer
from tests.support.wire import Frame, WireClient, assert_turns_end_once, ends, placed, transcript

AGENT = {"data": (ROOT / "handlers" / "data.py").read_text()}

PEOPLE = """name,age,height,born,note
Ada,36,1.70,1815-12-10,first
Grace,85,1.65,1906-12-09,
Alan,41,1.78,1912-06-23,n/a
Ada,,1.70,1815-12-10,again
"""


@asynccontextmanager
async def talking(server: ParleyServer, **hello: Any) -> AsyncIterator[WireClient]:
    async with await WireClient.connect(server.ws_url) as client:
        await client.hello(**hello)
        yield client
    assert_turns_end_once(client.frames)


async def upload(server: ParleyServer, client: WireClient, content: str | bytes, name: str = "people.csv") -> str:
    """Upload a file to the client's session; its id."""
    async with httpx.AsyncClient(base_url=server.url, trust_env=False, timeout=30) as http:
        url = f"/sessions/{client.welcome['session']}/files"
        body = content.encode() if isinstance(content, str) else content
        answer = await http.post(url, params={"name": name}, content=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def send(client: WireClient, kind: str, **members: Any) -> list[Frame]:
    """Send an input; all frames up to its turn's end, which must be a good one."""
    await client.count(kind, **members)
    frames = await client.collect(ends(), 60)
    assert "RUN_ERROR" not in str(frames), frames
    return frames


async def show(client: WireClient, file: str) -> list[Frame]:
    source = {"type": "file", "value": file, "provider": "parley"}
    parts = [{"type": "text", "text": "look"}, {"type": "document", "source": source}]
    return await send(client, "message", content=parts)


def values(frames: list[Frame], name: str) -> list[dict[str, Any]]:
    return [p.event["value"] for p in placed(frames) if p.event.get("name") == f"parley.{name}"]


def elements(frames: list[Frame]) -> dict[str, Any]:
    """The content of each element, by its type."""
    return {value["type"]: value["content"] for value in values(frames, "element")}


def answer(frames: list[Frame]) -> str:
    return [text for role, text in transcript(frames) if role == "assistant"][-1]


def columns(table: Any) -> dict[str, dict[str, Any]]:
    """The table's rows as dicts, by their column."""
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    return {row["column"]: row for row in rows}


async def test_a_file_is_profiled_and_its_columns_are_shown_by_buttons(server: StartServer) -> None:
    parley = server(AGENT)
    async with talking(parley) as client:
        file = await upload(parley, client, PEOPLE)
        frames = await show(client, file)
        assert answer(frames) == "`people.csv`: 4 rows, 5 columns."
        table = columns(elements(frames)["dataframe"])
        assert {name: row["type"] for name, row in table.items()} == {
            "name": "text", "age": "integer", "height": "number", "born": "date", "note": "text",
        }  # fmt: skip
        assert {name: row["missing"] for name, row in table.items() if row["missing"]} == {"age": 1, "note": 2}
        assert [table["age"][key] for key in ("min", "max", "mean", "different")] == [36, 85, 54, 3]
        assert table["height"]["mean"] == 1.7075
        assert table["name"]["min"] is None
        assert table["name"]["most frequent"].startswith("Ada (x 2)")
        assert sum(elements(frames)["plotly"]["data"][0]["y"]) == 3  # the ages

        (shown,) = values(frames, "actions")
        assert [button["label"] for button in shown["actions"]] == ["age", "height"]
        await upload(parley, client, "other\n1\n", "other.csv")
        pressed = shown["actions"][1]
        frames = await send(client, "action", name=pressed["name"], payload=pressed["payload"])
        assert "`height`: 4 numbers" in answer(frames)
        plot = elements(frames)["plotly"]
        assert (sum(plot["data"][0]["y"]), len(plot["data"][0]["x"])) == (4, 20)
        assert plot["layout"]["title"]["text"] == "height"

        for frames in [await send(client, "message", content="age")]:
            assert "`age`: 3 numbers" in answer(frames)
        assert "no numbers in `name`" in answer(await send(client, "message", content="name"))


async def test_pasted_text_is_profiled_and_other_words_are_answered_with_help(server: StartServer) -> None:
    parley = server(AGENT)
    async with talking(parley) as client:
        for text in ("hello", "", "two\nlines", "a, b"):
            assert "Send me a CSV file" in answer(await send(client, "message", content=text))
        frames = await send(client, "message", content="a;b\n1;x\n2;y\n3;x\n")
        assert answer(frames) == "`pasted.csv`: 3 rows, 2 columns."
        assert columns(elements(frames)["dataframe"])["b"]["most frequent"] == "x (x 2), y (x 1)"
        (shown,) = values(frames, "actions")
    last = list(placed(client.frames))[-1]
    since = {"seq": last.seq, "mark": last.mark}
    async with talking(parley, session=client.welcome["session"], since=since) as again:
        frames = await send(again, "action", name="histogram", payload=shown["actions"][0]["payload"])
        assert "`a`: 3 numbers" in answer(frames)


async def test_a_press_may_hold_anything_and_files_are_the_sessions_own(server: StartServer) -> None:
    parley = server(AGENT)
    async with talking(parley) as other:
        theirs = await upload(parley, other, "secret\n1\n")
    async with talking(parley) as client:
        mine = await upload(parley, client, "x\n1\n")
        cases: dict[str, list[dict[str, Any]]] = {
            "no such file": [{"file": theirs, "column": 0}, {"file": "../../etc/passwd", "column": 0}],
            "names no column": [{}, {"file": mine}, {"file": 1, "column": 0}, {"file": mine, "column": -1}],
            "no column": [{"file": mine, "column": 1}, {"file": mine, "column": 1 << 60}],
        }
        for words, payloads in cases.items():
            for payload in payloads:
                assert words in answer(await send(client, "action", name="histogram", payload=payload))
        assert "no such file" in answer(await show(client, theirs))
        assert "secret" not in str(client.frames)


async def test_what_is_no_csv_is_said_in_words(server: StartServer) -> None:
    parley = server(AGENT)
    cases: dict[str | bytes, str] = {
        'a,b\n1,2\n"3,4\n': "Line 3 is no CSV",
        '"a,b\n1,2\n': "first line is no CSV",
        "a\n" + "x" * 200_000: "Line 2 is no CSV: field larger",
        "\n1,2\n": "first line is",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)): "no text in UTF-8",
    }
    async with talking(parley) as client:
        for content, words in cases.items():
            said = answer(await show(client, await upload(parley, client, content, "a`<b>`.csv")))
            assert said.startswith("I cannot read `a'_b_'.csv`. ")
            assert words in said
        for content, headline in {"a,b\n": "0 rows, 2 columns", "\ufeffa\r\n1\r\n": "1 rows, 1 columns"}.items():
            frames = await show(client, await upload(parley, client, content))
            assert headline in answer(frames)
            assert "a" in columns(elements(frames)["dataframe"])


# ---- without a server


@pytest.fixture
def data(tmp_path: Path) -> Any:
    """The agent's module."""
    (tmp_path / "handlers").mkdir()
    (tmp_path / "handlers" / "data.py").write_text(AGENT["data"])
    load(tmp_path / "handlers")
    return sys.modules["parley_handlers.data"]


def written(folder: Path, text: str) -> Path:
    path = folder / "made.csv"
    path.write_text(text)
    return path


def test_rows_and_columns_past_the_bounds_are_not_read_and_that_is_said(data: Any, tmp_path: Path) -> None:
    path = written(tmp_path, "n\n" + "".join(f"{n}\n" for n in range(data.MAX_ROWS + 5)))
    long = data.profile(path)
    assert (long.rows, long.is_cut, long.columns[0].most) == (data.MAX_ROWS, True, data.MAX_ROWS - 1)
    assert "these are the first 100,000 rows" in long.words("long")
    assert len(long.columns[0].values) == data.MAX_DISTINCT
    assert long.columns[0].row()["different"] == "over 1,000"
    assert sum(data.distribution(path, 0)[2]) == data.MAX_ROWS
    exact = data.profile(written(tmp_path, "n\n" + "1\n" * data.MAX_ROWS))
    assert (exact.rows, exact.is_cut) == (data.MAX_ROWS, False)

    wide = written(tmp_path, ",".join(f"c{n}" for n in range(300)) + "\n" + ",".join(["1"] * 300) + "\n1,2\n")
    made = data.profile(wide)
    assert (len(made.columns), made.width, made.uneven, made.columns[5].missing) == (200, 300, 1, 1)
    for words in ("first 200 columns", "1 rows have more or fewer cells", "first 32 columns of numbers"):
        assert words in made.words("wide")
    with pytest.raises(data.Unreadable, match="no column 201"):
        data.distribution(wide, 200)
    assert len(made.columns[0].row()["most frequent"]) < 20
    assert data.profile(written(tmp_path, "x" * 500 + "\n" + "y" * 500)).columns[0].row()["column"] == "x" * 80


def test_a_cell_is_what_it_looks_like(data: Any, tmp_path: Path) -> None:
    cells = {
        "integer": ["1", "-2", "+3"],
        "number": ["1.5", "-2e3", ".5", "4"],
        "date": ["2024-02-29", "2024-02-29T10:00"],
    }
    cells |= {
        "text": ["1_000", "inf", "9" * 400 + "e9", "2024-02-30", "20240229x", "1,5"],
        "empty": ["", "NaN", "null", " "],
    }
    for kind, column in cells.items():
        text = "value\tother\n" + "".join(f"{cell}\tx\n" for cell in column)
        assert data.profile(written(tmp_path, text)).columns[0].type == kind
    assert data.profile(written(tmp_path, "v\n1\nx\n")).columns[0].type == "text"


@pytest.mark.parametrize(
    "numbers",
    [[5.0], [5.0, 5.0], [1.7e308, -1.7e308], [0.0, 5e-324], [float(n) for n in range(100)]],
    ids=["one", "equal", "wide", "narrow", "many"],
)
def test_every_number_is_in_one_range(numbers: list[float], data: Any) -> None:
    names, counts = data.binned(numbers)
    assert sum(counts) == len(numbers)
    assert len(names) == len(counts) in {1, 20}
    assert len(numbers) < 100 or counts == [5] * 20


def test_extreme_numbers_make_valid_json(data: Any, tmp_path: Path) -> None:
    made = data.profile(written(tmp_path, "v\n1.7e308\n-1.7e308\n1.7e308\n"))
    row = json.dumps(made.columns[0].row(), allow_nan=False)
    assert json.loads(row)["max"] == 1.7e308
