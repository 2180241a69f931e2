"""Writes what was measured into docs/performance.md, between two marks, and its plot beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.acceptance import judged
from bench.machine import ROOT
from bench.plot import draw
from bench.results import cell, figures_of, number

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "performance.svg"
BEGIN, END = "<!-- figures: made by `make bench` -->\n", "<!-- end of figures -->\n"


def write(kept: dict[str, Any], titles: dict[str, str]) -> None:
    """Replace the figures of the page and its plot. `titles` are those of the groups, in their order."""
    groups = {name: group["measured"] for name, group in kept["groups"].items()}
    PLOT.write_text(draw(groups))
    _replace(PAGE, "\n".join(_figures(kept, titles)))


def _replace(page: Path, figures: str) -> None:
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{figures}\n{END}{after}")


def _figures(kept: dict[str, Any], titles: dict[str, str]) -> Iterator[str]:
    machine = kept["machine"]
    yield f"Measured on {machine['cpu']}, Linux {machine['kernel']}, Python {machine['python']}.\n"
    yield "### Acceptance\n"
    yield "| | measured | must hold | goal | |\n| --- | ---: | ---: | ---: | --- |"
    for line, value, verdict in judged({name: group["measured"] for name, group in kept["groups"].items()}):
        yield f"| {line.text} | {number(value)} | {line.bound:g} | {line.goal:g} | {verdict} |"
    for name, title in titles.items():
        if name in kept["groups"]:
            yield from _table(title, kept["groups"][name])


def _table(title: str, group: dict[str, Any]) -> Iterator[str]:
    measured = group["measured"]
    yield f"\n### {title}\n\n`{group['command']}`\n"
    yield f"| median of the rounds | {' | '.join(measured)} |\n| --- |{' ---: |' * len(measured)}"
    for figure in figures_of(measured):
        yield f"| {figure} | {' | '.join(cell(measured, figure, peer) for peer in measured)} |"
