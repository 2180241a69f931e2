"""All who talk to the cluster: forty conversations with two tabs each."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from random import Random

from tests.chaos.cluster import Cluster
from tests.chaos.journal import Frame, Writer
from tests.chaos.tabs import Conversation, Tab
from tests.chaos.users import User

SESSIONS = 40
TABS = 2

BEGUN_WITHIN = 20.0
"""Seconds in which every tab has begun."""


class Company:
    """The tabs and their users. Each has a chance of its own, so that one who acts otherwise changes no other."""

    def __init__(self, cluster: Cluster, journal: Writer, seed: int, *, loses: bool) -> None:
        self.tabs: list[Tab] = []
        self._users: list[User] = []
        self._conversations = [Conversation() for _ in range(SESSIONS)]
        self._tasks: list[asyncio.Task[None]] = []
        for number, conversation in enumerate(self._conversations):
            nonces: dict[str, str] = {}
            for which in "ab"[:TABS]:
                name = f"tab-{seed}-{number:02d}-{which}"
                tab = Tab(name, conversation, cluster.nodes, journal, Random(name))
                self.tabs.append(tab)
                self._users.append(User(tab, nonces, journal, Random(f"{name} user"), loses=loses))

    @property
    def sessions(self) -> list[str]:
        """The sessions that have begun."""
        return [conversation.session for conversation in self._conversations if conversation.session]

    async def come(self) -> None:
        """Have the first tab of each conversation begin it, and the others join. Returns when all have begun."""
        self._tasks = [asyncio.create_task(tab.run()) for tab in self.tabs[::TABS]]
        async with asyncio.timeout(BEGUN_WITHIN):
            await asyncio.gather(*(conversation.begun.wait() for conversation in self._conversations))
        others = [tab for place, tab in enumerate(self.tabs) if place % TABS]
        self._tasks += [asyncio.create_task(tab.run()) for tab in others]

    def act(self) -> None:
        """Have the users do what they do."""
        self._tasks += [asyncio.create_task(user.act()) for user in self._users]

    def be_quiet(self) -> None:
        """Have them begin nothing new."""
        for user in self._users:
            user.is_quiet = True

    def waiting(self, heads: Mapping[str, Frame]) -> list[str]:
        """Which tabs have something that is not done, or have not seen all that the store has; in words.

        `heads` are the positions of the logs' last events, by session.
        """
        lacking = ((tab, lacks(tab, heads.get(tab.conversation.session))) for tab in self.tabs)
        return [f"{tab.name} {words}" for tab, words in lacking if words]

    async def leave(self) -> None:
        """Have everybody go. Raises: what a tab or a user failed with."""
        for task in self._tasks:
            task.cancel()
        ends = await asyncio.gather(*self._tasks, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end


def lacks(tab: Tab, head: Frame | None) -> str:
    """What a tab has not seen end, or not seen of a log with this head, in words; empty if there is nothing."""
    if tab.trouble:
        return f"gave up: {tab.trouble}"
    if tab.row.kept:
        return f"waits for {[kept.numbered for kept in tab.row.kept]}"
    return "" if tab.position == head else f"is at {tab.position}, the log's head at {head}"
