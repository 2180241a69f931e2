"""Measures Parley beside what people use today and beside the bare floor.

    python -m bench [--only roundtrips,streaming] [--peers floor,parley] [--rounds 5] [--seconds 3] [--sessions 50]

In each round every peer has its turn, in fresh processes: its server alone on one core; the load generator, the store
and this program on the other. Shown are medians over the rounds; in brackets, what Parley has for one of the peer's:
the median of each round's ratio. What was not measured now is kept from before; `--only ''` only shows and draws it.
Ends with 1 if something of what was measured does not hold that must.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench import page, results
from bench.acceptance import judged
from bench.generator import LoadError
from bench.groups import calls, growth, memory, pace, roundtrips, storm, streaming, takeover, workers
from bench.groups.group import Group, Options
from bench.machine import ROOT, busy_with_others, load_core

MODULES = (roundtrips, streaming, pace, calls, memory, growth, storm, takeover, workers)

GROUPS = {module.GROUP.name: module.GROUP for module in MODULES}

RESULTS = ROOT / "bench" / "results" / "latest.json"


QUIET = 0.3
"""Cores at work on other things, beyond which figures are not to be trusted."""


def run(group: Group, peers: list[str], options: Options, console: Console) -> results.Measured:
    """All rounds of a group."""
    measured: results.Measured = {peer: {} for peer in peers}
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(group.name, total=options.rounds * len(peers))
        for number in range(1, options.rounds + 1):
            for peer in peers:
                progress.update(task, description=f"{group.name}, round {number} of {options.rounds}: {peer}")
                if (others := busy_with_others()) > QUIET:
                    console.print(f"[yellow]round {number}, before {peer}: {others:.1f} cores are busy with others")
                try:
                    for figure, value in group.measure(peer, options):
                        measured[peer].setdefault(figure, []).append(value)
                except LoadError as error:
                    console.print(f"[red]{peer}, round {number}: {error}")
                progress.advance(task)
    return measured


def accepted(kept: dict[str, Any], only: list[str], console: Console) -> bool:
    """Print how the groups that were measured stand to what must hold; answers whether it does."""
    table = Table("", "measured", "must hold", "goal", "", title="Acceptance", title_justify="left")
    found = list(judged({name: kept["groups"][name]["measured"] for name in only}))
    for line, value, verdict in found:
        table.add_row(line.text, results.number(value), f"{line.bound:g}", f"{line.goal:g}", verdict)
    if found:
        console.print(table)
    return all(verdict != "MISSED" for _, _, verdict in found)


def command(group: str, arguments: list[str]) -> str:
    """The arguments that measure one group in the same way."""
    for option in ("--only", "--out"):
        if option in arguments:
            at = arguments.index(option)
            arguments = [*arguments[:at], *arguments[at + 2 :]]
    return " ".join(["--only", group, *arguments])


def names(text: str) -> list[str]:
    """A comma-separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def main() -> None:
    """Measure what the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", type=names, default=list(GROUPS), help=", ".join(GROUPS))
    parser.add_argument("--peers", type=names, default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--sessions", type=names, default=[], help="instead of each group's own")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the figures are kept, as JSON")
    arguments = parser.parse_args()
    os.sched_setaffinity(0, load_core())  # also of what is started, but for the servers
    console = Console() if sys.stdout.isatty() else Console(width=140)
    options = Options(arguments.rounds, arguments.seconds, tuple(map(int, arguments.sessions)))
    for name in arguments.only:
        group = GROUPS[name]
        peers = [peer for peer in group.peers if peer in arguments.peers or not arguments.peers]
        measured = run(group, peers, options, console)
        results.show(group.title, measured, console)
        results.keep(arguments.out, name, f'make bench ARGS="{command(name, sys.argv[1:])}"', measured)
    kept = results.kept_in(arguments.out)
    if arguments.out == RESULTS:
        page.write(kept, {group.name: group.title for group in GROUPS.values()})
    sys.exit(0 if accepted(kept, arguments.only, console) else 1)


if __name__ == "__main__":
    main()
