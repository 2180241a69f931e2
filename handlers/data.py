"""Profiles a CSV file: what is in each column, as a table and a plot, with a button for each column of numbers."""

import csv
import json
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from heapq import nlargest
from itertools import chain, repeat
from math import isfinite
from operator import itemgetter
from pathlib import Path
from typing import Any

import app as cl
from app.chat.files import FileRef, files_of, keep, open_file
from app.errors import NoSuchFile

MAX_ROWS = 100_000
MAX_COLUMNS = 200
MAX_DISTINCT = 1_000
MAX_CHARACTERS = 80
MAX_BUTTONS = 32
BINS = 20
TOP = 3

DELIMITERS = ",;\t|"
MISSING = {"", "na", "n/a", "nan", "null", "none"}
HELP = "Send me a CSV file, or paste the text of one: a line of column names, then a line for each row."


# ---- reading, in a process of its own: it computes, and would hold up the conversations of others


class Unreadable(Exception):
    """The file is no CSV file; the text says why."""


@dataclass
class Column:
    """What is known of a column: up to 1,000 different values are counted, and looked at once, by `close`."""

    name: str
    missing: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    values: dict[str, int] = field(default_factory=dict)
    is_varied: bool = False
    numbers: int = 0
    least: float = float("inf")
    most: float = float("-inf")
    mean: float = 0.0

    def add(self, cell: str) -> None:
        """Take in one cell."""
        value = cell.strip()
        if value in self.values:
            self.values[value] += 1
        elif len(self.values) < MAX_DISTINCT:
            self.values[value] = 1
        else:
            self.is_varied = True
            self._look_at(value, 1)

    def close(self) -> None:
        """There are no more cells."""
        for value, count in self.values.items():
            self._look_at(value, count)
        self.values = {value: count for value, count in self.values.items() if not is_missing(value)}

    def _look_at(self, value: str, count: int) -> None:
        number = number_of(value)
        if is_missing(value):
            self.missing += count
        elif number is None:
            self.kinds["date" if is_date(value) else "text"] += count
        else:
            self.kinds["integer" if value.lstrip("+-").isdecimal() else "number"] += count
            self.numbers += count
            self.least, self.most = min(self.least, number), max(self.most, number)
            part = count / self.numbers
            self.mean += number * part - self.mean * part  # no sum that could grow out of bounds

    def top(self, most: int) -> list[tuple[str, int]]:
        """Its most frequent values, cut to 80 characters, and how often they are there."""
        found = nlargest(most, self.values.items(), key=itemgetter(1))
        return [(value[:MAX_CHARACTERS], count) for value, count in found]

    @property
    def type(self) -> str:
        """What all its values are."""
        kinds = set(self.kinds)
        if kinds == {"integer", "number"}:
            return "number"
        return "text" if len(kinds) > 1 else next(iter(kinds), "empty")

    @property
    def is_numeric(self) -> bool:
        """Whether it can be measured."""
        return self.type in {"integer", "number"}

    def row(self) -> dict[str, Any]:
        """Its line of the table."""
        top = ", ".join(f"{value} (x {count})" for value, count in self.top(TOP))
        exact = int if self.type == "integer" else float
        return {
            "column": self.name,
            "type": self.type,
            "missing": self.missing,
            "different": f"over {MAX_DISTINCT:,}" if self.is_varied else len(self.values),
            "min": exact(self.least) if self.is_numeric else None,
            "max": exact(self.most) if self.is_numeric else None,
            "mean": float(f"{self.mean:.6g}") if self.is_numeric else None,
            "most frequent": "" if self.is_varied else top,
        }


@dataclass
class Profile:
    """What is known of a file."""

    columns: list[Column]
    width: int
    rows: int = 0
    uneven: int = 0
    is_cut: bool = False

    def words(self, name: str) -> str:
        """The profile's headline, and what was left out of it."""
        said = [f"{code(name)}: {self.rows:,} rows, {self.width:,} columns."]
        if self.is_cut:
            said.append(f"It has more: these are the first {MAX_ROWS:,} rows.")
        if self.width > MAX_COLUMNS:
            said.append(f"Only its first {MAX_COLUMNS} columns were looked at.")
        if self.uneven:
            said.append(f"{self.uneven:,} rows have more or fewer cells than there are columns.")
        if len(self.numeric()) > MAX_BUTTONS:
            said.append(f"There are buttons for the first {MAX_BUTTONS} columns of numbers; type the name of another.")
        return " ".join(said)

    def numeric(self) -> list[int]:
        """Which columns are numbers."""
        return [number for number, column in enumerate(self.columns) if column.is_numeric]


def profile(path: Path) -> Profile:
    """Look at a file's first 100,000 rows and 200 columns. Raises: Unreadable."""
    with reading(path) as (header, rows):
        names = [name.strip()[:MAX_CHARACTERS] for name in header[:MAX_COLUMNS]]
        made = Profile([Column(name or f"column {n}") for n, name in enumerate(names, 1)], len(header))
        for row in rows:
            if made.rows == MAX_ROWS:
                made.is_cut = True
                break
            made.rows += 1
            made.uneven += len(row) != made.width
            for column, cell in zip(made.columns, chain(row, repeat("")), strict=False):
                column.add(cell)
    for column in made.columns:
        column.close()
    return made


def distribution(path: Path, number: int) -> tuple[str, list[str], list[int]]:
    """A column's name, and its numbers in at most 20 ranges: what they are called, how many are in each.

    Raises: Unreadable, also if there is no such column, or no number in it.
    """
    found = array("d")
    with reading(path) as (header, rows):
        if number >= min(len(header), MAX_COLUMNS):
            raise Unreadable(f"There is no column {number + 1}.")
        for row in (row for _, row in zip(range(MAX_ROWS), rows, strict=False) if number < len(row)):
            value = number_of(row[number].strip())
            if value is not None:
                found.append(value)
    name = header[number].strip()[:MAX_CHARACTERS] or f"column {number + 1}"
    if not found:
        raise Unreadable(f"There are no numbers in {code(name)}.")
    return (name, *binned(found))


def binned(numbers: Sequence[float]) -> tuple[list[str], list[int]]:
    """Numbers in ranges of one width."""
    low, high = min(numbers), max(numbers)
    step = high / BINS - low / BINS  # not (high - low) / BINS, which may be too large for a float
    if step == 0:
        return [f"{low:.6g}"], [len(numbers)]
    counts = [0] * BINS
    for number in numbers:
        counts[min(BINS - 1, int((number / BINS - low / BINS) / step * BINS))] += 1
    return [f"{low + step * n:.4g} to {low + step * (n + 1):.4g}" for n in range(BINS)], counts


@contextmanager
def reading(path: Path) -> Iterator[tuple[list[str], Iterator[list[str]]]]:
    """A file's header and its rows, without empty lines. Raises: Unreadable, in the block too."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(csv.field_size_limit())
            file.seek(0)
            reader = csv.reader(file, delimiter=max(DELIMITERS, key=first.count), strict=True)
            header = next(reader, [])
            if not header:
                raise Unreadable("It is empty, or its first line is: that is where the names of the columns belong.")
            try:
                yield header, (row for row in reader if row)
            except csv.Error as error:
                raise Unreadable(f"Line {reader.line_num:,} is no CSV: {error}.") from None
    except UnicodeDecodeError:
        raise Unreadable("It is no text in UTF-8. A spreadsheet can save it as CSV UTF-8.") from None
    except csv.Error as error:
        raise Unreadable(f"Its first line is no CSV: {error}.") from None


def is_missing(cell: str) -> bool:
    """Whether it stands for no value."""
    return cell.lower() in MISSING


def number_of(cell: str) -> float | None:
    """A cell's number, with a decimal point, if it is one."""
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if isfinite(number) and "_" not in cell else None


def is_date(cell: str) -> bool:
    """Whether it is a date, or a date and a time, as ISO 8601 writes them."""
    try:
        datetime.fromisoformat(cell)
    except ValueError:
        return False
    return cell[4:5] == "-"


# ---- showing


class Figure(dict[str, Any]):
    """A figure as plotly's JSON, without plotly."""

    def to_json(self) -> str:
        """The JSON."""
        return json.dumps(self)


def bars(title: str, names: list[str], counts: list[int]) -> cl.Plotly:
    """A bar for each name."""
    shown = {"type": "bar", "x": names, "y": counts}
    layout = {"title": {"text": title}, "xaxis": {"type": "category"}, "yaxis": {"title": {"text": "rows"}}}
    return cl.Plotly(title, figure=Figure(data=[shown], layout=layout))


def code(text: str) -> str:
    """A name as a client shows it: text, whatever is in it."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


async def show_profile(file: FileRef) -> None:
    """Show what is in a file, and keep which one it was."""
    try:
        async with open_file(file) as path:
            made = await cl.make_async(profile, process=True)(path)
            numeric = made.numeric()
            plot = await plotted(path, made)
    except Unreadable as error:
        await cl.ErrorMessage(f"I cannot read {code(file.name)}. {error}").send()
        return
    cl.user_session["file"] = {"id": file.id, "columns": [column.name for column in made.columns]}
    table = cl.Dataframe([column.row() for column in made.columns], name="columns")
    actions = [button(file.id, n, made.columns[n].name) for n in numeric[:MAX_BUTTONS]]
    await cl.Message(made.words(file.name), elements=[table, *plot], actions=actions).send()


async def plotted(path: Path, made: Profile) -> list[cl.Plotly]:
    """The first column of numbers, or else the most frequent values of the first that has few."""
    if made.numeric():
        return [bars(*await cl.make_async(distribution, process=True)(path, made.numeric()[0]))]
    few = next((column for column in made.columns if column.values and not column.is_varied), None)
    if few is None:
        return []
    names, counts = zip(*few.top(BINS), strict=True)
    return [bars(few.name, list(names), list(counts))]


def button(file: str, number: int, name: str) -> cl.Action:
    """The button that shows a column of this file, whichever came after it."""
    return cl.Action("histogram", {"file": file, "column": number}, label=name, tooltip=f"How {name} is distributed")


async def show_distribution(file: str, number: int) -> None:
    """Show how a column's numbers are distributed."""
    try:
        async with open_file(file) as path:
            name, ranges, counts = await cl.make_async(distribution, process=True)(path, number)
    except NoSuchFile:
        await cl.ErrorMessage("This conversation has no such file.").send()
    except Unreadable as error:
        await cl.ErrorMessage(str(error)).send()
    else:
        most = max(range(len(counts)), key=counts.__getitem__)
        words = f"{code(name)}: {sum(counts):,} numbers. Most, {counts[most]:,}, are in {ranges[most]}."
        await cl.Message(words, elements=[bars(name, ranges, counts)]).send()


# ---- handlers


@cl.action_callback("histogram")
async def histogram(action: cl.Action) -> None:
    """Show the column of a button. What comes with a press may be anything."""
    match action.payload:
        case {"file": str(file), "column": int(number)} if number >= 0:
            await show_distribution(file, number)
        case _:
            await cl.ErrorMessage("This button names no column.").send()


@cl.on_message
async def main(message: cl.Message) -> None:
    """Profile the files of a message, or the text of one; or show the column that is named."""
    try:
        files = await files_of(message)
    except NoSuchFile:
        await cl.ErrorMessage("This conversation has no such file.").send()
        return
    text = message.content.strip()
    first, is_more, _ = text.partition("\n")
    known = cl.user_session.get("file") or {"columns": []}
    if not files and is_more and any(delimiter in first for delimiter in DELIMITERS):
        files = [await keep(text.encode(), name="pasted.csv", mime="text/csv")]
    for file in files:
        await show_profile(file)
    if not files and text in known["columns"]:
        await show_distribution(known["id"], known["columns"].index(text))
    elif not files:
        await cl.Message(HELP).send()
