"""How long a turn stands still when its worker is killed or hangs, and what is no reason to take it over."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.acceptance.fleet import STREAM, Place, Watched, figures, next_attempts, places_of, watched
from tests.conftest import StartServer
from tests.support.process import wait_until
from tests.support.server import ParleyServer
from tests.support.valkey import ValkeyProcess
from tests.support.wire import assert_gapless

SESSIONS = 40
ROUNDS = 5
BESIDE = 20
"""Sessions of each of the workers that share this machine, and start anew on it while they are taken over."""

LONG = 1_200
"""Pieces of a turn that does not end by itself while a test runs: a minute of them."""

LEASE = 6.0
"""Seconds of a lease, unless a setting says otherwise."""

Report = Callable[[str, dict[str, float]], None]


@pytest.fixture
def report(capsys: pytest.CaptureFixture[str]) -> Report:
    """Print figures, whether or not the test passes."""

    def say(what: str, measured: dict[str, float]) -> None:
        with capsys.disabled():
            sys.stdout.write(f"\n{what}: {json.dumps(measured)}\n")

    return say


def three(server: StartServer, valkey: ValkeyProcess) -> list[ParleyServer]:
    """Three servers of one worker each, on one store."""
    return [server({"stream": STREAM}, env={"REDIS_URL": valkey.url}, program=("app",)) for _ in range(3)]


def place_of(server: ParleyServer) -> Place:
    (place,) = places_of(server)
    return place


async def assert_taken_over(sessions: list[Watched]) -> None:
    """Each turn ends well in its second attempt, once, and nobody missed anything."""
    for session in sessions:
        end = await session.end()
        assert (end["attempt"], end["events"][-1]["type"]) == (2, "RUN_FINISHED"), end
        assert session.ended() == 1
        assert_gapless(session.watcher.frames)
        await session.close()


@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_killed_among_separate_workers(valkey: ValkeyProcess, server: StartServer, report: Report) -> None:
    servers = three(server, valkey)
    took: list[float] = []
    for number in range(ROUNDS):
        victim = servers[number % 3]
        owner = place_of(victim)
        others = [place_of(each) for each in servers if each is not victim]
        sessions = await watched(owner, others, SESSIONS, LONG)
        took += await next_attempts(sessions, owner.pid, signal.SIGKILL)
        await assert_taken_over(sessions)
        await asyncio.to_thread(victim.kill_group)
        await asyncio.to_thread(victim.start)
    measured = figures(took)
    report("SIGKILL, separate workers", measured)
    assert measured["p99"] < 2.5, measured


@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_killed_beside_others_of_one_server(server: StartServer, report: Report) -> None:
    one = server({"stream": STREAM}, args=("--workers", "3"), program=("app",))
    took: list[float] = []
    for _ in range(2 * ROUNDS):
        await asyncio.to_thread(wait_until, lambda: len(places_of(one)) == 3, "three workers run")
        owner, *others = places_of(one)
        sessions = await watched(owner, others, BESIDE, LONG)
        took += await next_attempts(sessions, owner.pid, signal.SIGKILL)
        await assert_taken_over(sessions)
    measured = figures(took)
    report("SIGKILL, one of --workers 3", measured)
    assert measured["p50"] < 0.3, measured
    assert measured["p99"] < 2.5, measured


@pytest.mark.alone
@pytest.mark.timeout(300)
async def test_one_that_hangs_keeps_its_sessions_no_longer_than_its_lease(
    valkey: ValkeyProcess, server: StartServer, report: Report
) -> None:
    servers = three(server, valkey)
    took: list[float] = []
    for victim in servers[:2]:
        owner = place_of(victim)
        sessions = await watched(owner, [place_of(s) for s in servers if s is not victim], SESSIONS, LONG)
        took += await next_attempts(sessions, owner.pid, signal.SIGSTOP)
        os.kill(owner.pid, signal.SIGCONT)
        # it wakes up in the middle of its turns, and may write no word of them
        await asyncio.to_thread(wait_until, partial(_lost_all, victim.log), "it knows what it lost")
        await assert_taken_over(sessions)
    measured = figures(took)
    report("SIGSTOP, separate workers", measured)
    assert measured["p99"] < LEASE + 2, measured


def _lost_all(log: Path) -> bool:
    return log.read_text().count("lease_lost") >= SESSIONS


@pytest.mark.timeout(300)
async def test_lost_subscriptions_are_no_deaths(valkey: ValkeyProcess, server: StartServer) -> None:
    servers = three(server, valkey)
    places = [place_of(each) for each in servers]
    sessions: list[Watched] = []
    for number, owner in enumerate(places):
        others = [place for place in places if place is not owner]
        sessions += await watched(owner, others, SESSIONS // 3, 400 + 10 * number)
    async with valkey.async_client() as redis:
        for _ in range(100):
            await redis.client_kill_filter(_type="pubsub")
            await asyncio.sleep(0.1)
    for session in sessions:
        end = await session.end()
        assert (end["attempt"], end["events"][-1]["type"]) == (1, "RUN_FINISHED"), end
        assert_gapless(session.watcher.frames)
        await session.close()


@pytest.mark.timeout(300)
async def test_a_store_that_was_away_for_longer_than_a_lease_is_nobodys_death(
    valkey: ValkeyProcess, server: StartServer
) -> None:
    servers = three(server, valkey)
    places = [place_of(each) for each in servers]
    sessions: list[Watched] = []
    for owner in places:
        sessions += await watched(owner, [place for place in places if place is not owner], 5, 400)
    await asyncio.to_thread(valkey.kill)
    await asyncio.sleep(LEASE + 1)
    await asyncio.to_thread(valkey.start)
    for session in sessions:
        end = await session.end()
        assert (end["attempt"], end["events"][-1]["type"]) == (1, "RUN_FINISHED"), end
        assert_gapless(session.watcher.frames)
        await session.close()
    assert all("store_was_away" in each.log.read_text() for each in servers)
    # and one that dies after that is taken over as ever
    sessions = await watched(places[0], places[1:], 5, LONG)
    assert max(await next_attempts(sessions, places[0].pid, signal.SIGKILL)) < LEASE
    await assert_taken_over(sessions)
    await asyncio.to_thread(servers[0].kill_group)
