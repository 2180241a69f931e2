"""What 50 clients notice while workers are added, restarted, replaced and killed, and a backup that is put back.

Every test leaves two healthy workers. All that a client was told and said is checked when it has talked: see talker.py.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.docker.conftest import signed_in
from tests.docker.deployment import ENGINE_NEEDED, Deployment
from tests.docker.report import say_of
from tests.docker.talker import Talker, answered_again, talking
from tests.support.process import wait_until
from tests.support.wire import WireClient, ends, transcript

pytestmark = ENGINE_NEEDED

CLIENTS = 50


def crowd(deployment: Deployment) -> list[Talker]:
    return [Talker(deployment.ws_url, deployment.token(f"user-{number}")) for number in range(CLIENTS)]


async def meanwhile(work: Callable[..., object], *args: str) -> float:
    """Do something that blocks while clients go on; the seconds that it took."""
    began = time.monotonic()
    await asyncio.to_thread(work, *args)
    return time.monotonic() - began


async def test_a_third_worker_gets_clients_at_once(deployment: Deployment) -> None:
    talkers = crowd(deployment)
    async with talking(talkers):
        before = {talker.worker for talker in talkers}
        assert len(before) == 2
        more = ("up", "--detach", "--wait", "--no-recreate", "--scale", "app=3")
        took = await meanwhile(deployment.compose, *more)
        late = crowd(deployment)
        async with talking(late):
            pass
    new = [talker.worker for talker in late if talker.worker not in before]
    assert len(set(new)) == 1
    # all have as many clients in the end, so the new one, which had none, got most
    assert len(new) > CLIENTS / 2
    assert {talker.losses for talker in talkers + late} == {0}
    say_of(talkers, f"up --scale app=3 took {took:.1f} s; {len(new)} of {CLIENTS} new clients came to the third worker")
    deployment.compose("up", "--detach", "--wait", "--no-recreate", "--scale", "app=2")


async def test_all_workers_restarted_at_once_lose_nothing(deployment: Deployment) -> None:
    talkers = crowd(deployment)
    began = deployment.now()
    async with talking(talkers):
        took = await meanwhile(deployment.compose, "restart", "app")
        await answered_again(talkers)
    assert all(talker.losses for talker in talkers)
    assert deployment.exit_codes("app", began) == ["0", "0"]
    say_of(talkers, f"restart app took {took:.1f} s")
    await both_healthy(deployment)


async def test_workers_restarted_one_after_another_are_hardly_noticed(deployment: Deployment) -> None:
    talkers = crowd(deployment)
    began = deployment.now()
    async with talking(talkers):
        took = await meanwhile(deployment.operate, "restart")
        await answered_again(talkers)
    assert deployment.exit_codes("app", began) == ["0", "0"]
    # their turns take less than a worker that stops lets them run
    assert {talker.attempts for talker in talkers} == {1}
    say_of(talkers, f"the workers restarted one after another in {took:.1f} s")


async def test_an_upgrade_is_hardly_noticed(deployment: Deployment) -> None:
    talkers = crowd(deployment)
    old, began = deployment.containers("app"), deployment.now()
    async with talking(talkers):
        took = await meanwhile(deployment.operate, "upgrade")
        await answered_again(talkers)
    assert set(deployment.containers("app")).isdisjoint(old)
    assert deployment.exit_codes("app", began) == ["0", "0"]
    assert {talker.attempts for talker in talkers} == {1}
    say_of(talkers, f"an upgrade took {took:.1f} s")
    await both_healthy(deployment)


async def test_a_killed_worker_loses_nothing(deployment: Deployment) -> None:
    talkers = crowd(deployment)
    victim = deployment.containers("app")[0]
    restarts = deployment.inspect(victim)["RestartCount"]
    async with talking(talkers):
        # all that this user may kill in there, which is not the init process: that one ends with its child
        deployment.attempt("docker", "exec", victim, "sh", "-c", "kill -9 -1")
        replaced = lambda: deployment.inspect(victim)["RestartCount"] > restarts  # noqa: E731
        await asyncio.to_thread(wait_until, replaced, "a new worker took its place")
        await answered_again(talkers)
    lost = [talker for talker in talkers if talker.losses]
    assert 0 < len(lost) < CLIENTS
    say_of(talkers, f"kill -9 of the worker of {len(lost)} clients of {CLIENTS}")
    await both_healthy(deployment)


async def test_a_killed_store_loses_nothing(deployment: Deployment) -> None:
    talkers = crowd(deployment)
    async with talking(talkers):
        took = await meanwhile(deployment.compose, "kill", "redis")
        took += await meanwhile(deployment.compose, "up", "--detach", "--wait", "--no-recreate", "redis")
        await answered_again(talkers)
    assert {talker.losses for talker in talkers} == {0}
    say_of(talkers, f"kill -9 of the store, and up again in {took:.1f} s")
    await both_healthy(deployment)


async def test_a_backup_can_be_put_back(deployment: Deployment) -> None:
    token = deployment.token("ada")
    async with await WireClient.connect(deployment.ws_url) as client, signed_in(deployment) as http:
        session = (await client.hello(agent="echo", token=token))["session"]
        await client.count("message", content="before")
        await client.collect(ends())
        file = (await http.post(f"/sessions/{session}/files", params={"name": "a.txt"}, content=b"kept")).json()["url"]
    since = client.since
    deployment.operate("backup")
    deployment.compose("down", "--volumes")
    deployment.operate("restore")
    deployment.find_port()
    async with await WireClient.connect(deployment.ws_url) as client, signed_in(deployment) as http:
        await client.hello(session=session, since=since, token=token)
        await client.count("message", content="after")
        await client.collect(ends())
        assert transcript(client.frames) == [("user", "after"), ("assistant", "Received: after")]
        assert (await http.get(file)).content == b"kept"


async def both_healthy(deployment: Deployment) -> None:
    await asyncio.to_thread(wait_until, lambda: deployment.healthy("app") == 2, "both workers are healthy")
