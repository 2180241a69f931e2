"""Which faults befall the cluster in a run, and when: all of it follows from the seed."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from tests.chaos.cluster import WORKERS

Seconds = tuple[float, ...]


class Kind(NamedTuple):
    """A kind of fault: how often it is chosen, how long it may last, and what it is done to."""

    weight: int
    seconds: Seconds = (0.0,)
    to_store: bool = False
    loses: bool = False


KINDS: dict[str, Kind] = {
    "worker killed": Kind(5),
    "worker frozen": Kind(4, (3.0, 3.0, 3.0, 3.0, 3.0, 3.0, 8.0, 20.0)),
    "worker drained": Kind(3),
    "store killed": Kind(3, to_store=True),
    "file tail cut": Kind(3, (0.3, 1.0, 2.0), to_store=True, loses=True),
    "lagging replica promoted": Kind(3, (0.3, 1.0, 2.0), to_store=True, loses=True),
    "subscribers cut": Kind(3),
    "reply dropped": Kind(5),
    "way to the store stalled": Kind(3, (0.5, 1.5, 3.0)),
    "way from the store stalled": Kind(3, (0.5, 1.5, 3.0)),
    "store far away": Kind(2, (2.0,)),
    "store's line throttled": Kind(2, (2.0,)),
    "clients stalled": Kind(2, (1.0, 3.0)),
    "clients far away": Kind(2, (2.0,)),
    "clients throttled": Kind(2, (2.0,)),
    "clients reset": Kind(3),
    "client cut in mid-frame": Kind(3),
    "scripts flushed": Kind(2, to_store=True),
    "memory full": Kind(2, (1.0, 2.5), to_store=True),
}
"""By name. What is not done to the store is done to one worker, or to its ways."""

FAULTS = (8, 12)
"""How many there are in a run, at least and at most."""

PAUSES = (0.2, 1.2)
"""Seconds between the beginnings of two faults, at least and at most; the earlier one may still go on."""

LOSE = 0.3
"""How many of the schedules may lose a tail."""

ALONE = 0.15
"""In how many of the others the faults come one at a time: such runs tell how long a takeover takes by itself."""

ALONE_FAULTS = 4
"""How many there are then …"""

ALONE_PAUSES = (3.0, 4.0)
"""… and the seconds from the end of one to the next."""

FATAL = ("worker killed", "worker frozen", "worker drained")
"""The kinds after which a worker's sessions are others'. Only these come alone."""


@dataclass(frozen=True)
class Planned:
    """A fault to come: what, to which worker (-1: the store), for how long, and after which pause."""

    name: str
    worker: int
    seconds: float
    pause: float


@dataclass(frozen=True)
class Schedule:
    """The faults of a run. `loses` says whether one of them takes a tail from the store.

    `alone` says that each is over before the next begins.
    """

    faults: list[Planned]
    loses: bool
    alone: bool

    @property
    def names(self) -> list[str]:
        """The kinds of faults, in order."""
        return [fault.name for fault in self.faults]


def schedule(seed: int) -> Schedule:
    """The faults that follow from a seed."""
    rng = Random(f"schedule {seed}")
    may_lose = rng.random() < LOSE
    if not may_lose and rng.random() < ALONE:
        return Schedule(
            [_planned(rng.choice(FATAL), ALONE_PAUSES, rng) for _ in range(ALONE_FAULTS)], loses=False, alone=True
        )
    names = [name for name, kind in KINDS.items() if may_lose or not kind.loses]
    weights = [KINDS[name].weight for name in names]
    chosen = rng.choices(names, weights, k=rng.randint(*FAULTS))
    faults = [_planned(name, PAUSES, rng) for name in chosen]
    return Schedule(faults, any(KINDS[name].loses for name in chosen), alone=False)


def _planned(name: str, pauses: tuple[float, float], rng: Random) -> Planned:
    kind = KINDS[name]
    worker = rng.randrange(WORKERS)
    return Planned(name, -1 if kind.to_store else worker, rng.choice(kind.seconds), rng.uniform(*pauses))
