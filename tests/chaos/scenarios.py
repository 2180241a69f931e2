"""One directed fault for each mutant: what it needs to be seen, and nothing else. A sound server passes them all."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable
from itertools import groupby

from app.store import keys
from tests.chaos.stand import Stand
from tests.support.wire import Frame, WireClient, assert_gapless, ends, is_a, placed, transcript

AGENT = {
    "stream": """
import asyncio
import app as cl

@cl.on_message
async def main(message):
    turns = cl.user_session["turns"] = cl.user_session.get("turns", 0) + 1
    answer = cl.Message()
    for k in range(int(message.content)):
        await answer.stream_token(f"{turns}:{k} ")
        await asyncio.sleep(0.02)
    await answer.send()
"""
}
"""Answers a number with as many words, 50 a second, that tell the turn from the state and their own place in it."""

OVER = 30.0
"""Seconds in which a turn must have ended after whatever happened to it."""

Scenario = Callable[[Stand], Awaitable[None]]


def shows(word: int) -> Callable[[Frame], bool]:
    """A condition for `collect`: the answer has come to this word."""
    return lambda frame: f":{word} " in str(frame)


def attempt(number: int) -> Callable[[Frame], bool]:
    """A condition for `collect`: an event of this attempt."""
    return is_a("events", attempt=number)


def assert_complete(frames: Iterable[Frame], words: int) -> None:
    """The one answer of these frames is the expected one, without a gap, and no mark came back."""
    frames = list(frames)
    assert_gapless(frames)
    marks = [mark for mark, _ in groupby(place.mark for place in placed(frames))]
    assert len(marks) == len(set(marks)), f"a mark came back: {marks}"
    expected = "".join(f"1:{k} " for k in range(words))
    assert transcript(frames) == [("user", str(words)), ("assistant", expected)]


def assert_nothing_taken_back(frames: Iterable[Frame]) -> None:
    assert not [frame for frame in frames if frame["type"] == "reset"], "reset, though nothing was lost"


async def read_from_start(stand: Stand, session: str, worker: int = 0) -> list[Frame]:
    """All of a log whose turn has ended, as a new tab reads it."""
    tab = await stand.workers[worker].connect(session=session)
    await tab.collect(ends(), OVER)
    await tab.close()
    return tab.frames


async def speak(stand: Stand, words: int) -> tuple[WireClient, str]:
    """A client at the first worker, which then owns the session's turn of so many words."""
    client = await stand.workers[0].connect(client="client-one")
    await client.count("message", content=str(words))
    await client.collect(is_a("ack"))
    return client, client.welcome["session"]


async def no_mark_check(stand: Stand) -> None:
    """A frozen owner wakes up when another has taken its session over."""
    owner, other = stand.workers
    _, session = await speak(stand, 150)
    tab = await other.connect(session=session)
    await tab.collect(shows(10))
    owner.signal(signal.SIGSTOP)
    await tab.collect(attempt(2), OVER)
    owner.signal(signal.SIGCONT)
    await tab.collect(ends(), OVER)
    assert_complete(tab.frames, 150)
    assert_nothing_taken_back(tab.frames)


async def no_position_check(stand: Stand) -> None:
    """The store loses the last events of an owner that goes on."""
    client, session = await speak(stand, 150)
    await client.collect(shows(10))
    written = stand.valkey.written()
    await client.collect(shows(30))
    await stand.lose(written)
    await client.collect(ends(), OVER)
    assert_complete(await read_from_start(stand, session), 150)


async def resume_by_seq_alone(stand: Stand) -> None:
    """The store loses what a client has seen, which comes back when other events stand there."""
    client, session = await speak(stand, 150)
    await client.collect(shows(10))
    written = stand.valkey.written()
    await client.collect(shows(30))
    await client.drop()
    await stand.lose(written)
    await read_from_start(stand, session)
    back = await stand.workers[0].connect(client="client-one", session=session, since=client.since)
    if back.welcome["head"]["seq"] > client.since["seq"]:
        await back.receive()
        assert back.frames[-1]["type"] == "reset", f"not told that its events were lost: {back.frames}"


async def default_retries(stand: Stand) -> None:
    """Replies to an owner are lost, again and again."""
    client, _ = await speak(stand, 150)
    for word in range(10, 150, 10):
        await client.collect(shows(word))
        stand.workers[0].store.drop_reply(1)
    await client.collect(ends(), OVER)
    assert_complete(client.frames, 150)
    assert {place.attempt for place in placed(client.frames)} == {1}, "a second attempt, though no worker died"


async def ack_before_accept(stand: Stand) -> None:
    """A worker dies with an input that it could not give to the store."""
    owner, other = stand.workers
    client = await owner.connect(client="client-one")
    owner.store.stall("up")
    n = await client.count("message", content="10")
    acked = 0
    while not acked:
        try:
            frame = await client.receive(1.0)
        except TimeoutError:
            break
        acked = n if frame["type"] == "ack" else 0
    owner.signal(signal.SIGKILL)
    back = await other.connect(client="client-one", session=client.welcome["session"])
    assert back.welcome["acked"] >= acked, "an input was acknowledged and is not kept"


async def subscribe_after_attach(stand: Stand) -> None:
    """A tab comes to a worker far from the store while the turn ends at another one."""
    client, session = await speak(stand, 95)
    await client.collect(shows(40))
    # a longer delay would keep the worker's heartbeat from it, and a new subscription repairs
    stand.workers[1].store.delay(0.2)
    tab = await stand.workers[1].connect(session=session)
    await client.collect(ends())
    stand.workers[1].store.delay(0)
    await tab.collect(ends())
    assert_complete(tab.frames, 95)


async def no_gap_repair(stand: Stand) -> None:
    """A worker with a tab does not hear of some events."""
    _, session = await speak(stand, 150)
    tab = await stand.workers[1].connect(session=session)
    for word in (20, 60, 100):
        await tab.collect(shows(word))
        assert stand.workers[1].store.reset(only="subscriber")
    await tab.collect(ends(), OVER)
    assert_complete(tab.frames, 150)


async def socket_before_append(stand: Stand) -> None:
    """An owner cannot reach the store until another has taken its session over."""
    owner, other = stand.workers
    client, session = await speak(stand, 150)
    tab = await other.connect(session=session)
    await client.collect(shows(10))
    owner.store.stall("up")
    await tab.collect(attempt(2), OVER)
    owner.store.flow()
    await tab.collect(ends(), OVER)
    await client.collect(ends(), OVER)
    for frames in (client.frames, tab.frames):
        assert_nothing_taken_back(frames)
        assert_complete(frames, 150)


async def state_before_last_event(stand: Stand) -> None:
    """An owner dies as soon as the store has its turn's state."""
    owner, other = stand.workers
    _, session = await speak(stand, 10)
    state = f"{keys.tag(keys.partition(session))}:u:{session}"
    async with stand.valkey.async_client() as direct, asyncio.timeout(OVER):
        while not await direct.exists(state):
            await asyncio.sleep(0)
    owner.signal(signal.SIGKILL)
    tab = await other.connect(session=session)
    await tab.collect(ends(), OVER)
    assert_complete(tab.frames, 10)


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
"""By the name of the mutant that fails."""
