"""What the bridge costs: `make_async` and `run_sync` beside what else there is, in one run.

    python -m bench.bridge [--loop uvloop|asyncio] [--rounds 15] [--calls 300]

Every figure is microseconds a call, of one call after the other. The candidates take turns within each round; shown
are the median and the least of all rounds. Ends with 1 if Parley's median is more than 1.5 times the leanest one's.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, NamedTuple

import anyio.from_thread
import anyio.to_thread
import asyncer
import uvloop
from rich.console import Console
from rich.table import Table

from app.executor import BoundedExecutor, drive, install, make_async, run_sync, uninstall

ENOUGH = 1.5
"""How many times the leanest candidate's time Parley may take."""

OURS = "Parley"

Measure = Callable[[int], Awaitable[float]]
"""Seconds that so many calls take."""


class Group(NamedTuple):
    """Candidates for the same thing; those that are compared with Parley, and what is shown for orientation."""

    title: str
    candidates: dict[str, Measure]
    orientation: frozenset[str] = frozenset()


# ---- what is called


def nothing() -> None:
    """A function that takes no time."""


async def one_step() -> None:
    """A coroutine that waits once."""
    await asyncio.sleep(0)


async def steps(count: int) -> None:
    """A coroutine that waits so many times."""
    for _ in range(count):
        await asyncio.sleep(0)


# ---- how it is called


def awaited(call: Callable[[], Awaitable[object]]) -> Measure:
    """Calls that are awaited on the loop."""

    async def measure(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            await call()
        return time.perf_counter() - begun

    return measure


def called(enter: Callable[[Callable[[], float]], Awaitable[float]], call: Callable[[], object]) -> Measure:
    """Calls of synchronous code, which `enter` takes to where they are made from."""

    def loop(count: int) -> float:
        begun = time.perf_counter()
        for _ in range(count):
            call()
        return time.perf_counter() - begun

    return lambda count: enter(lambda: loop(count))


async def in_turn(function: Callable[[], float]) -> float:
    """Call a function in a turn, on the loop."""

    async def handler() -> float:
        return function()

    return await drive(handler())


def bare(coroutine: Coroutine[Any, Any, None]) -> Awaitable[None]:
    """A coroutine that nothing drives."""
    return coroutine


def groups() -> list[Group]:
    """All that is measured. On the loop."""
    loop = asyncio.get_running_loop()
    return [
        Group(
            "a blocking function called from the loop",
            {
                f"{OURS}: make_async": awaited(make_async(nothing)),
                "asyncio.to_thread": awaited(lambda: asyncio.to_thread(nothing)),
                "anyio.to_thread.run_sync": awaited(lambda: anyio.to_thread.run_sync(nothing)),
                "asyncer.asyncify": awaited(asyncer.asyncify(nothing)),
            },
        ),
        Group(
            "a coroutine waited for in a thread",
            {
                f"{OURS}: run_sync": called(lambda f: make_async(f)(), lambda: run_sync(one_step())),
                "asyncio.run_coroutine_threadsafe": called(
                    asyncio.to_thread, lambda: asyncio.run_coroutine_threadsafe(one_step(), loop).result()
                ),
                "anyio.from_thread.run": called(anyio.to_thread.run_sync, lambda: anyio.from_thread.run(one_step)),
                "asyncer.syncify": called(lambda f: asyncer.asyncify(f)(), asyncer.syncify(one_step)),
            },
        ),
        Group(
            "a coroutine waited for in a handler, on the loop",
            {
                f"{OURS}: run_sync": called(in_turn, lambda: run_sync(one_step())),
                "await, where that is possible": awaited(one_step),
            },
            frozenset({"await, where that is possible"}),
        ),
        *(
            Group(
                f"a turn of {count} steps that uses no bridge",
                {
                    f"{OURS}: drive": awaited(lambda count=count: drive(steps(count))),  # type: ignore[misc]
                    "not driven": awaited(lambda count=count: bare(steps(count))),  # type: ignore[misc]
                },
                frozenset({"not driven"}),
            )
            for count in (0, 1, 10)
        ),
    ]


# ---- the run


async def measure(group: Group, rounds: int, calls: int) -> dict[str, list[float]]:
    """Microseconds a call, of each candidate in each round."""
    figures: dict[str, list[float]] = {name: [] for name in group.candidates}
    for _ in range(rounds):
        for name, candidate in group.candidates.items():
            figures[name].append(await candidate(calls) / calls * 1e6)
    return figures


def show(group: Group, figures: dict[str, list[float]], console: Console) -> bool:
    """Print a table; answers whether Parley is lean enough."""
    medians = {name: statistics.median(values) for name, values in figures.items()}
    leanest = min(median for name, median in medians.items() if name not in group.orientation)
    table = Table(title=group.title, title_justify="left")
    for column in ("", "median µs", "least µs", "times leanest"):
        table.add_column(column, justify="right" if column else "left")
    for name, median in medians.items():
        table.add_row(name, f"{median:.1f}", f"{min(figures[name]):.1f}", f"{median / leanest:.2f}")
    console.print(table)
    return all(median <= ENOUGH * leanest for name, median in medians.items() if name.startswith(OURS))


async def main(rounds: int, calls: int) -> bool:
    """Measure and show all groups; answers whether Parley is lean enough in each."""
    executor = BoundedExecutor(threads=6, queue=1_000, slow_after=10)
    install(executor, asyncio.get_running_loop())
    console = Console()
    lean = [show(group, await measure(group, rounds, calls), console) for group in groups()]
    uninstall()
    executor.shutdown()
    return all(lean)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--loop", choices=["uvloop", "asyncio"], default="uvloop")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=300)
    arguments = parser.parse_args()
    run = uvloop.run if arguments.loop == "uvloop" else asyncio.run
    sys.exit(0 if run(main(arguments.rounds, arguments.calls)) else 1)
