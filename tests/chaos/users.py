"""Whoever sits at a tab: says things, answers what is asked, changes their mind, and is ill-mannered now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from tests.chaos import workload
from tests.chaos.journal import Habit, Writer
from tests.chaos.row import Kept
from tests.chaos.tabs import Raw, Tab
from tests.chaos.workload import PACE, Input, Kind

THINKING = (0.5, 3.0)
"""Seconds between two things that a user does, at least and at most."""

MOST_WAITING = 3
"""Inputs of a tab that it has not seen end; with as many its user waits."""

SAYS: dict[Kind, tuple[int, int, int]] = {
    "stream": (40, 20, 50),
    "thread": (8, 5, 15),
    "sends": (10, 2, 6),
    "ask": (14, 1, 1),
    "wait": (3, 1, 1),
    "steps": (12, 2, 8),
    "state": (8, 1, 1),
    "fail": (4, 1, 5),
    "flood": (1, 5, 15),
}
"""How often each kind of input is said, of a hundred, and its size at least and at most."""

ILL_MANNERED = 0.12
"""How often a user does something else than to say the next thing."""

CANCELS = 0.2
"""How often a stream is cancelled."""

DECLINES = 0.1
"""How often an ask is declined."""

ANSWERS_TWICE = 0.2
"""How often it is answered and answered again."""

FAR = 1_000
"""How many numbers are skipped: so many that none of them is due by the time a stalled connection passes it on."""

ANSWER_AGAIN = 3.0
"""Seconds after which a user answers an ask again that is still open: a store may have lost the first answer."""


class User:
    """A tab's user. `loses` keeps from it what a store that lost a tail would rightly take for something new.

    `nonces` has those of the asks of its session that are to be answered, by what they ask. Once `is_quiet`, it only
    answers.
    """

    def __init__(self, tab: Tab, nonces: dict[str, str], journal: Writer, rng: Random, *, loses: bool) -> None:
        self.is_quiet = False
        self._tab = tab
        self._nonces = nonces
        self._journal = journal
        self._rng = rng
        self._said = 0
        self._answer_at: dict[str, float] = {}
        self._cancels: set[asyncio.Task[None]] = set()
        self._manners: dict[str, Callable[[], object]] = {
            "hang up": tab.hang_up,
            "stop reading": lambda: tab.be_deaf(rng.uniform(1, 4)),
            "skip": self._skip,
            "reorder": lambda: tab.swap(self._next(), self._next()),
            "cancel whatever runs": lambda: tab.say(type="cancel"),
        }
        if not loses:
            self._manners |= {"duplicate": self._duplicate, "conflict": self._conflict}

    async def act(self) -> None:
        """Do one thing after the other, until cancelled."""
        loop = asyncio.get_running_loop()
        next_time = loop.time() + self._rng.uniform(0, THINKING[1])
        while not self._tab.trouble:
            await asyncio.sleep(self._rng.uniform(0.05, 0.3))
            for ask in list(self._tab.asks.values()):
                if loop.time() >= self._answer_at.get(ask["id"], 0.0):
                    self._answer_at[ask["id"]] = loop.time() + ANSWER_AGAIN
                    self._answer(ask["id"], ask["prompt"])
            if loop.time() >= next_time and not self.is_quiet:
                next_time = loop.time() + self._rng.uniform(*THINKING)
                self._do_something()

    def _do_something(self) -> None:
        if self._rng.random() < ILL_MANNERED:
            manner = self._rng.choice(sorted(self._manners))
            self._note(manner)
            self._manners[manner]()
        elif len(self._tab.row.kept) < MOST_WAITING:
            kept = self._tab.say(**self._next())
            given = Input.of(kept.frame["content"])
            if given.kind == "stream" and self._rng.random() < CANCELS:
                cancel = asyncio.create_task(self._cancel(kept, given.size * PACE))
                self._cancels.add(cancel)
                cancel.add_done_callback(self._cancels.discard)

    # ---- good manners

    def _next(self) -> dict[str, Any]:
        """The next thing to say."""
        kind = self._rng.choices(list(SAYS), [weight for weight, _, _ in SAYS.values()])[0]
        self._said += 1
        given = Input(kind, f"{self._tab.name}.{self._said}", self._rng.randint(*SAYS[kind][1:]))
        if kind == "ask":
            self._nonces[workload.prompt(self._tab.conversation.session, given.nonce)] = given.nonce
        return {"type": "message", "id": f"m-{given.nonce}", "content": given.content}

    async def _cancel(self, kept: Kept, lasts: float) -> None:
        """Cancel a turn in its middle, or when it is about to end."""
        is_late = self._rng.random() < 0.5
        await asyncio.sleep(lasts * (self._rng.uniform(0.9, 1.2) if is_late else self._rng.random()))
        if kept.turn and kept in self._tab.row.kept:
            self._note("cancel at the end" if is_late else "cancel")
            self._tab.say(type="cancel", turn=kept.turn)

    def _answer(self, ask: str, prompt: str) -> None:
        nonce = self._nonces.get(prompt)
        if nonce is None:
            return
        if self._rng.random() < DECLINES:
            self._tab.say(type="answer", ask=ask, cancelled=True)
            return
        value = workload.answer(self._tab.conversation.session, nonce, self._tab.name)
        self._tab.say(type="answer", ask=ask, value=value)
        if self._rng.random() < ANSWERS_TWICE:
            self._note("answer twice")
            self._tab.say(type="answer", ask=ask, value=f"{value} after all")

    # ---- bad manners

    def _skip(self) -> None:
        self._tab.misbehave([Raw({**self._next(), "n": self._tab.row.last + FAR}, "skip")])

    def _duplicate(self) -> None:
        if self._tab.row.taken:
            self._tab.misbehave([Raw(self._tab.row.taken, "duplicate")])

    def _conflict(self) -> None:
        if self._tab.row.taken:
            self._tab.misbehave([Raw({**self._next(), "n": self._tab.row.taken["n"]}, "conflict")])

    def _note(self, name: str) -> None:
        self._journal.write(Habit(tab=self._tab.name, name=name))
