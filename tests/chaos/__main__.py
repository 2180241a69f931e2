"""`python -m tests.chaos run --seed N`, `soak --from A --count K --out FILE`, `report FILE`."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos import checker, summary
from tests.chaos.journal import Journal
from tests.chaos.runner import run
from tests.chaos.summary import Line


async def _run(seed: int, folder: Path) -> Line:
    journal = Journal.load(await run(seed, folder))
    return summary.summary(journal, checker.check(journal))


def one(seed: int, keep: Path | None) -> int:
    """Do one run and say what it came to; 1 if a rule was broken."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        line = asyncio.run(_run(seed, (keep or Path(folder)) / f"seed-{seed}"))
    sys.stdout.write(f"{json.dumps(line, indent=1)}\n{len(line['violations'])} violations\n")
    return bool(line["violations"])


async def soak(first: int, count: int, out: Path, keep: Path | None, jobs: int) -> int:
    """Do the runs of these seeds that are not in the file yet; 1 if a rule was broken."""
    known = {line["seed"] for line in summary.load(out)}
    free = asyncio.Semaphore(jobs)
    await asyncio.gather(*(_soak(seed, out, keep, free) for seed in range(first, first + count) if seed not in known))
    return any(line["violations"] for line in summary.load(out))


async def _soak(seed: int, out: Path, keep: Path | None, free: asyncio.Semaphore) -> None:
    async with free:
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        line = await _run(seed, folder / f"seed-{seed}")
        with out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        sys.stdout.write(f"seed {seed}: {line['acknowledged']} inputs, {len(line['violations'])} violations\n")
        sys.stdout.flush()
        if keep and line["violations"]:
            shutil.copytree(folder, keep, dirs_exist_ok=True)
        shutil.rmtree(folder)


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="one run; a rule that is broken is told, and ends it with 1")
    command.add_argument("--seed", type=int, required=True)
    command.add_argument("--keep", type=Path, help="the folder to leave journal, logs and store in")
    command = commands.add_parser("soak", help="many runs, one line each; those that are in the file are done")
    command.add_argument("--from", dest="first", type=int, required=True, help="the first seed")
    command.add_argument("--count", type=int, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--keep", type=Path, help="the folder to leave what broke a rule in")
    command.add_argument("--jobs", type=int, default=1, help="runs at once")
    command = commands.add_parser("report", help="the figures of a file of runs, as Markdown")
    command.add_argument("file", type=Path)
    given = parser.parse_args()
    if given.command == "run":
        return one(given.seed, given.keep)
    if given.command == "soak":
        return asyncio.run(soak(given.first, given.count, given.out, given.keep, given.jobs))
    sys.stdout.write(summary.report(summary.load(given.file)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
