"""One run of the chaos suite, from an empty store to the journal of all that happened."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import replace
from pathlib import Path

from tests.chaos import remains, stand
from tests.chaos.cluster import Cluster
from tests.chaos.company import Company
from tests.chaos.faults import Faults
from tests.chaos.journal import Done, Quiet, Resources, Run, Writer
from tests.chaos.schedule import Schedule, schedule

PLAIN = 1.0
"""Seconds in which nothing happens yet."""

DONE_WITHIN = 25.0
"""Seconds after the last fault until a run gives up: more than is promised, so that a journal shows how late it is."""

EMPTY_WITHIN = 10.0
"""Seconds after the last client has gone in which a worker should hold no more than before the first came."""

LOOKS = 5
"""Looks at what the workers hold before the first client comes."""

LOOK_EVERY = 0.1
"""Seconds between looks whether all is done."""


async def run(seed: int, folder: Path, program: tuple[str, ...] = ("app",)) -> Path:
    """Do a run in a folder; the path of its journal."""
    plan = schedule(seed)
    path = folder / "journal.jsonl"
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    with Writer(path) as journal:
        journal.write(
            Run(
                seed=seed,
                loses=plan.loses,
                lease=stand.LEASE,
                program=list(program),
                schedule=plan.names,
                alone=plan.alone,
            )
        )
        cluster = Cluster(folder, program)
        async with cluster.running():
            await _play(cluster, plan, seed, journal)
    return path


async def _play(cluster: Cluster, plan: Schedule, seed: int, journal: Writer) -> None:
    before = await _baseline(cluster)
    company = Company(cluster, journal, seed, loses=plan.loses)
    try:
        await company.come()
        company.act()
        await asyncio.sleep(PLAIN)
        await Faults(cluster, company, journal, seed).perform(plan)
        company.be_quiet()
        journal.write(Quiet())
        journal.write(Done(waiting=await _done(cluster, company)))
    finally:
        await company.leave()
    for held in [*before, *await _empty(cluster, before)]:
        journal.write(held)
    for left in await remains.stored(cluster, company.sessions):
        journal.write(left)


async def _baseline(cluster: Cluster) -> list[Resources]:
    """What idle workers hold, of several looks: a worker may still be connecting, or be looking at the store."""
    looks = []
    for _ in range(LOOKS):
        looks.append(await remains.resources(cluster, "before"))
        await asyncio.sleep(LOOK_EVERY)
    return [
        replace(of_one[0], sockets=max(each.sockets for each in of_one), tasks=min(each.tasks for each in of_one))
        for of_one in zip(*looks, strict=True)
    ]


async def _done(cluster: Cluster, company: Company) -> list[str]:
    """Wait until all is done; what is not, if that takes too long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + DONE_WITHIN
    while True:
        unfinished = [f"{session} is not done" for session in await remains.unfinished(cluster, company.sessions)]
        waiting = company.waiting(await remains.heads(cluster, company.sessions)) + unfinished
        if not waiting or loop.time() > deadline:
            return waiting
        await asyncio.sleep(LOOK_EVERY)


async def _empty(cluster: Cluster, before: list[Resources]) -> list[Resources]:
    """Wait until the workers hold no more than before; what they hold then, or after too long."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + EMPTY_WITHIN
    while True:
        after = await remains.resources(cluster, "after")
        if all(_no_more(now, then) for now, then in zip(after, before, strict=True)):
            return after
        if loop.time() > deadline:
            for node in cluster.nodes:
                node.signal(signal.SIGUSR1)
            return after
        await asyncio.sleep(LOOK_EVERY)


def _no_more(now: Resources, then: Resources) -> bool:
    return all(
        getattr(now, name) <= getattr(then, name) for name in ("sockets", "store", "channels", "tasks", "sessions")
    )
