"""What was measured: kept as JSON, shown as tables."""

from __future__ import annotations

import json
import platform
import statistics
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

Measured = dict[str, dict[str, list[float | None]]]
"""Peer, figure, and its value in each round."""


def kept_in(path: Path) -> dict[str, Any]:
    """What a file has of all groups."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"groups": {}}
    return kept


def keep(path: Path, group: str, command: str, measured: Measured) -> None:
    """Put a group's figures into a file, in place of those that it has."""
    kept = kept_in(path)
    kept["machine"] = machine()
    kept["groups"][group] = {"command": command, "measured": measured}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(kept, indent=1, ensure_ascii=False, default=float) + "\n")


def machine() -> dict[str, str]:
    """What it was measured on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": f"{len(models)} cores of {models[0]}",
        "python": platform.python_version(),
        "kernel": platform.release(),
    }


def median(values: list[float | None]) -> float | None:
    """The median of the rounds that have a value."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(measured: Measured, figure: str, peer: str, against: str) -> float | None:
    """The median of each round's ratio of two peers."""
    pairs = zip(measured.get(peer, {}).get(figure, []), measured.get(against, {}).get(figure, []), strict=False)
    return median([one / other if one is not None and other else None for one, other in pairs])


def show(title: str, measured: Measured, console: Console) -> None:
    """Print a figure a row and a peer a column."""
    table = Table(title=title, title_justify="left")
    table.add_column("median of the rounds")
    for peer in measured:
        table.add_column(peer, justify="right")
    for figure in figures_of(measured):
        table.add_row(figure, *(cell(measured, figure, peer) for peer in measured))
    console.print(table)


def figures_of(measured: Measured) -> list[str]:
    """The names of all figures, in the order in which they were measured."""
    return list(dict.fromkeys(figure for values in measured.values() for figure in values))


def cell(measured: Measured, figure: str, peer: str) -> str:
    """A median, and in brackets what Parley has for one of it: the median of the rounds' ratios."""
    value = median(measured[peer].get(figure, []))
    if value is None:
        return "-"
    against = ratio(measured, figure, "parley", peer) if peer != "parley" else None
    return number(value) + (f" ({against:.2f})" if against is not None else "")


def number(value: float) -> str:
    """A value with three digits or more."""
    if abs(value) >= 100:  # noqa: PLR2004
        return f"{value:,.0f}"
    return f"{value:.3g}"
