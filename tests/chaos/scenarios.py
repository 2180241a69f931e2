"""One directed schedule for each mutant: what it needs to be seen, and nothing else. A sound server passes them all."""

from __future__ import annotations

import asyncio
import signal
from contextlib import suppress

from app.store import keys
from tests.chaos.stage import OVER, Actor, Scenario, Stage, has_nothing_left, heard, shows
from tests.chaos.workload import Input

WORDS = 150
"""Words of a turn that goes on long enough for something to happen to it: three seconds."""

AGAIN = heard('"attempt":2')
"""A condition: the turn is run again."""


async def speaking(stage: Stage, words: int = WORDS, at: int = 10) -> tuple[Actor, Input]:
    """A tab at the owner of a turn that has come to this word."""
    tab = await stage.begin()
    given = tab.asks_for(words)
    await tab.until(shows(given, at))
    return tab, given


async def no_mark_check(stage: Stage) -> None:
    """A frozen owner wakes up when another has taken its session over."""
    first, _ = await speaking(stage)
    second = await stage.join(first, stage.other)
    with stage.fault("worker frozen", stage.owner):
        stage.owner.signal(signal.SIGSTOP)
        await second.until(AGAIN)
        stage.owner.signal(signal.SIGCONT)


async def no_position_check(stage: Stage) -> None:
    """The store loses the last events of an owner that goes on."""
    tab, given = await speaking(stage)
    with stage.fault("file tail cut"):
        written = stage.cluster.primary.written()
        await tab.until(shows(given, 30))
        await asyncio.to_thread(stage.cluster.primary.lose, written)


async def resume_by_seq_alone(stage: Stage) -> None:
    """The store loses what a tab has seen, which comes back when other events stand there."""
    tab, given = await speaking(stage)
    with stage.fault("file tail cut"):
        written = stage.cluster.primary.written()
        await tab.until(shows(given, 30))
        await tab.go()
        await asyncio.to_thread(stage.cluster.primary.lose, written)
    second = await stage.join(tab, stage.other)
    await second.until(shows(given, WORDS - 1))
    await tab.come()


async def default_retries(stage: Stage) -> None:
    """Replies to an owner are lost, again and again."""
    tab, given = await speaking(stage)
    for k in range(20, 60, 10):
        with stage.fault("reply dropped", stage.owner):
            stage.owner.store.drop_reply(1)
            await tab.until(shows(given, k))


async def ack_before_accept(stage: Stage) -> None:
    """A worker dies with an input that it could not give to the store."""
    tab = await stage.begin()
    with stage.fault("way to the store stalled", stage.owner), stage.fault("worker killed", stage.owner):
        stage.owner.store.stall("up")
        tab.asks_for(10)
        with suppress(TimeoutError):
            await tab.until(heard('"type":"ack"'), within=1.0)
        stage.owner.signal(signal.SIGKILL)
        stage.owner.store.flow()
        await stage.owner.kill()
    await tab.until(has_nothing_left)


async def subscribe_after_attach(stage: Stage) -> None:
    """A tab comes to a worker far from the store while the turn ends at another one."""
    first, _ = await speaking(stage, 95, 40)
    with stage.fault("store far away", stage.other):
        # a longer delay would keep the worker's heartbeat from it, and a new subscription repairs
        stage.other.store.delay(0.2)
        await stage.join(first, stage.other)
        await first.until(has_nothing_left)
        stage.other.store.delay(0)


async def no_gap_repair(stage: Stage) -> None:
    """A worker with a tab does not hear of some events."""
    first, given = await speaking(stage)
    second = await stage.join(first, stage.other)
    for k in (20, 60, 100):
        await second.until(shows(given, k))
        with stage.fault("subscribers cut", stage.other):
            assert stage.other.store.reset(only="subscriber")


async def socket_before_append(stage: Stage) -> None:
    """An owner cannot reach the store until another has taken its session over."""
    first, _ = await speaking(stage)
    second = await stage.join(first, stage.other)
    with stage.fault("way to the store stalled", stage.owner):
        stage.owner.store.stall("up")
        await second.until(AGAIN)
        stage.owner.store.flow()


async def state_before_last_event(stage: Stage) -> None:
    """An owner dies as soon as the store has its turn's state."""
    tab = await stage.begin()
    await tab.until(heard('"RUN_FINISHED"'))
    given = tab.asks_for(10)
    session = tab.conversation.session
    state = f"{keys.tag(keys.partition(session))}:u:{session}"
    async with stage.cluster.primary.async_client() as direct, asyncio.timeout(OVER):
        while given.nonce not in (await direct.hget(state, "done") or ""):
            await asyncio.sleep(0)
    with stage.fault("worker killed", stage.owner):
        stage.owner.signal(signal.SIGKILL)
        await stage.owner.kill()


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        no_mark_check,
        no_position_check,
        resume_by_seq_alone,
        default_retries,
        ack_before_accept,
        subscribe_after_attach,
        no_gap_repair,
        socket_before_append,
        state_before_last_event,
    )
}
"""By the name of the mutant that they show."""

LOSING = frozenset({"no_position_check", "resume_by_seq_alone"})
"""Those in which the store loses a tail."""
