"""`python -m tests.chaos run --seed N [--mutant NAME]`, `soak --from A --count K --out FILE`, `report FILE`."""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.chaos import checker, mutants, summary
from tests.chaos.journal import Journal
from tests.chaos.runner import run
from tests.chaos.summary import Line


async def _run(seed: int, folder: Path, program: tuple[str, ...] = ("app",)) -> Line:
    journal = Journal.load(await run(seed, folder, program))
    return summary.summary(journal, checker.check(journal))


def one(seed: int, keep: Path | None, mutant: str | None) -> int:
    """Do one run and say what it came to; 1 if a rule was broken."""
    program = ("tests.chaos.mutants", mutant) if mutant else ("app",)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        line = asyncio.run(_run(seed, (keep or Path(folder)) / f"seed-{seed}", program))
    sys.stdout.write(f"{json.dumps(line, indent=1)}\n{len(line['violations'])} violations\n")
    return bool(line["violations"])


async def soak(given: argparse.Namespace) -> int:
    """Do the runs of these seeds that are not in the file yet; 1 if a rule was broken in any of the file."""
    known = {line["seed"] for line in summary.load(given.out)}
    seeds = [seed for seed in range(given.first, given.first + given.count) if seed not in known]
    until = asyncio.get_running_loop().time() + given.within
    await asyncio.gather(*(_soak(seeds, until, given) for _ in range(given.jobs)))
    return any(line["violations"] for line in summary.load(given.out))


async def _soak(seeds: list[int], until: float, given: argparse.Namespace) -> None:
    """Do one run after the other, beginning none after `until`."""
    while seeds and asyncio.get_running_loop().time() < until:
        seed = seeds.pop(0)
        folder = Path(tempfile.mkdtemp(prefix="chaos-"))
        try:
            line = await _run(seed, folder / f"seed-{seed}")
        except Exception as error:  # noqa: BLE001  # a run that could not be made is no good run
            traceback.print_exception(error)
            line = summary.failed(seed, error)
        with given.out.open("a") as file:
            file.write(json.dumps(line) + "\n")
        sys.stdout.write(f"seed {seed}: {line['acknowledged']} inputs, {len(line['violations'])} violations\n")
        sys.stdout.flush()
        if given.keep and line["violations"]:
            shutil.copytree(folder, given.keep, dirs_exist_ok=True)
        shutil.rmtree(folder)


def main() -> int:
    """Do what the command line says. SIGTERM ends it as Ctrl-C does, with all that it has started."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("run", help="one run; a rule that is broken is told, and ends it with 1")
    command.add_argument("--seed", type=int, required=True)
    command.add_argument("--keep", type=Path, help="the folder to leave journal, logs and store in")
    command.add_argument("--mutant", choices=mutants.MUTANTS, help="the fault that the server is to have")
    command = commands.add_parser("soak", help="many runs, one line each; those that are in the file are done")
    command.add_argument("--from", dest="first", type=int, required=True, help="the first seed")
    command.add_argument("--count", type=int, required=True)
    command.add_argument("--out", type=Path, required=True)
    command.add_argument("--keep", type=Path, help="the folder to leave what broke a rule in")
    command.add_argument("--jobs", type=int, default=1, help="runs at once")
    command.add_argument("--within", type=float, default=math.inf, help="seconds after which none is begun")
    command = commands.add_parser("report", help="the figures of a file of runs, as Markdown")
    command.add_argument("file", type=Path)
    given = parser.parse_args()
    if given.command == "run":
        return one(given.seed, given.keep, given.mutant)
    if given.command == "soak":
        return asyncio.run(soak(given))
    sys.stdout.write(summary.report(summary.load(given.file)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
