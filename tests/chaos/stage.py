"""The stage of one directed fault: two workers, tabs that a scenario can wait for, and the journal of it all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

from websockets.asyncio.client import ClientConnection

from tests.chaos import remains, stand, workload
from tests.chaos.cluster import Cluster, Node
from tests.chaos.company import lacks
from tests.chaos.journal import Done, Fault, Journal, Over, Quiet, Run, Writer
from tests.chaos.rules.end import WITHIN
from tests.chaos.schedule import KINDS
from tests.chaos.tabs import Conversation, Tab
from tests.chaos.workload import Input

OVER = 30.0
"""Seconds in which what a scenario waits for has come."""


class Actor(Tab):
    """A tab of a scenario, at one worker."""

    def __init__(self, name: str, conversation: Conversation, node: Node, journal: Writer) -> None:
        super().__init__(name, conversation, [node], journal, Random(name))
        self.heard: list[str] = []
        self._news = asyncio.Event()
        self._life: asyncio.Task[None] | None = None

    def _take(self, socket: ClientConnection, text: str) -> None:
        super()._take(socket, text)
        self.heard.append(text)
        self._news.set()

    async def come(self) -> None:
        """Be connected; returns when it was welcomed anew."""
        self.heard.clear()
        self._life = asyncio.create_task(self.run())
        await self.until(heard('"type":"welcome"'))

    async def go(self) -> None:
        """Be gone, until it comes again."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)

    async def until(self, holds: Callable[[Actor], bool], within: float = OVER) -> None:
        """Wait until something holds of this tab. Raises: TimeoutError."""
        async with asyncio.timeout(within):
            while not holds(self):
                self._news.clear()
                await self._news.wait()

    def asks_for(self, words: int) -> Input:
        """Say a first input, which makes so many words."""
        given = Input("stream", self.name, words)
        self.say(type="message", id=f"m-{self.name}", content=given.content)
        return given


def heard(words: str) -> Callable[[Actor], bool]:
    """A condition: a frame with these words came."""
    return lambda actor: any(words in text for text in actor.heard)


def shows(given: Input, k: int) -> Callable[[Actor], bool]:
    """A condition: the answer to an input has come to this word."""
    return lambda actor: heard(workload.word(actor.conversation.session, given.nonce, k))(actor)


def has_nothing_left(actor: Actor) -> bool:
    """A condition: all inputs have ended."""
    return not actor.row.kept


class Stage:
    """Where a scenario is played."""

    def __init__(self, cluster: Cluster, journal: Writer) -> None:
        self.cluster = cluster
        self._journal = journal
        self._actors: list[Actor] = []
        self._faults = 0

    @property
    def owner(self) -> Node:
        """The worker of the first tab, which so owns the session."""
        return self.cluster.nodes[0]

    @property
    def other(self) -> Node:
        """The other worker."""
        return self.cluster.nodes[1]

    async def begin(self) -> Actor:
        """The first tab comes, to the owner to be."""
        return await self._enter(Conversation(), self.owner)

    async def join(self, first: Actor, node: Node) -> Actor:
        """Another tab of the same session comes, to this worker."""
        return await self._enter(first.conversation, node)

    async def _enter(self, conversation: Conversation, node: Node) -> Actor:
        actor = Actor(f"tab-{len(self._actors)}-at-{node.number}", conversation, node, self._journal)
        self._actors.append(actor)
        await actor.come()
        return actor

    @contextmanager
    def fault(self, name: str, node: Node | None = None) -> Iterator[None]:
        """What is done in this block is this fault, to a worker or to the store."""
        self._faults += 1
        worker = -1 if node is None else node.number
        self._journal.write(Fault(number=self._faults, name=name, worker=worker, loses=KINDS[name].loses))
        yield
        self._journal.write(Over(number=self._faults))

    async def close(self, patience: float) -> None:
        """Wait until all is done, or for so many seconds; then all go, and it is written down what the store has."""
        self._journal.write(Quiet())
        self._journal.write(Done(waiting=await self._lacking(patience)))
        for actor in self._actors:
            await actor.go()
        sessions = {actor.conversation.session for actor in self._actors}
        for left in await remains.stored(self.cluster, sessions):
            self._journal.write(left)

    async def _lacking(self, patience: float) -> list[str]:
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            heads = await remains.heads(self.cluster, [actor.conversation.session for actor in self._actors])
            lacking = [(actor.name, lacks(actor, heads.get(actor.conversation.session))) for actor in self._actors]
            words = [f"{name} {what}" for name, what in lacking if what]
            if not words or asyncio.get_running_loop().time() > deadline:
                return words
            await asyncio.sleep(0.1)


Scenario = Callable[[Stage], Awaitable[None]]


async def play(
    scenario: Scenario, folder: Path, program: tuple[str, ...], *, loses: bool, patience: float = WITHIN
) -> Journal:
    """Play a scenario with workers that run `program`; what happened.

    `loses` says that the store may lose a tail, `patience` for how many seconds after the last fault it is waited
    until all is done.
    """
    path = folder / "journal.jsonl"
    with Writer(path) as journal:
        journal.write(Run(seed=0, loses=loses, lease=stand.LEASE, program=list(program), schedule=[]))
        cluster = Cluster(folder, program, workers=2)
        async with cluster.running():
            stage = Stage(cluster, journal)
            await scenario(stage)
            await stage.close(patience)
    return Journal.load(path)
