"""`make test-docker`: docker-compose.yml on a real engine, from a fresh clone, and what its users notice of faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from app.client import connect
from tests.docker.deployment import Deployment
from tests.docker.talker import Talker, answered_again, talking
from tests.support.process import wait_until
from tests.support.wire import WireClient, ends, is_a, transcript

pytestmark = [pytest.mark.docker, pytest.mark.timeout(900)]

CLIENTS = 50
NEEDED = {"REDIS_PASSWORD": "for-a-test", "PARLEY_ALLOW_ANONYMOUS": "1"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A fresh clone, in which nothing runs yet unless `deployment` is asked for too."""
    made = Deployment(tmp_path_factory.mktemp("docker"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def deployment(clone: Deployment) -> Deployment:
    """The same, started as README.md says."""
    began = time.monotonic()
    clone.start()
    say(f"docker compose up --build --wait: {time.monotonic() - began:.1f} s")
    return clone


@pytest.fixture
async def http(deployment: Deployment) -> AsyncIterator[httpx.AsyncClient]:
    """A signed-in client of the load balancer."""
    headers = {"Authorization": f"Bearer {deployment.token('ada')}"}
    async with httpx.AsyncClient(base_url=deployment.url, headers=headers, trust_env=False, timeout=20) as client:
        yield client


def crowd(deployment: Deployment) -> list[Talker]:
    return [Talker(deployment.ws_url, deployment.token(f"user-{number}")) for number in range(CLIENTS)]


def say(line: str) -> None:
    """Put a figure into the report, which `make test-docker` shows."""
    print(line)  # noqa: T201


def say_of(talkers: list[Talker], what: str) -> None:
    away = sorted(seconds for talker in talkers for seconds in talker.away)
    figures = {
        "inputs said": sum(talker.said for talker in talkers),
        "acknowledged": sum(talker.acked for talker in talkers),
        "answered": sum(talker.ended for talker in talkers),
        "connections lost": len(away),
        "most attempts": max(talker.attempts for talker in talkers),
    }
    back = f"; back after p50 {away[len(away) // 2]:.2f} s, at most {away[-1]:.2f} s" if away else ""
    say(f"{what}: " + ", ".join(f"{name} {value}" for name, value in figures.items()) + back)


async def in_thread(deployment: Deployment, *args: str) -> float:
    """Run `docker compose …` while clients go on; the seconds that it took."""
    began = time.monotonic()
    await asyncio.to_thread(deployment.compose, *args)
    return time.monotonic() - began


# ---- who may start it


@pytest.mark.parametrize(
    ("missing", "named"),
    [
        ("PARLEY_ALLOW_ANONYMOUS", ("PARLEY_AUTH_JWT_SECRET", "PARLEY_ALLOW_ANONYMOUS=1")),
        ("REDIS_PASSWORD", ("REDIS_PASSWORD",)),
    ],
)
def test_it_does_not_start_without_its_secrets(clone: Deployment, missing: str, named: tuple[str, ...]) -> None:
    given = {name: "" if name == missing else value for name, value in NEEDED.items()}
    # an empty file in the place of .env, which the deployment may have by now
    refused = clone.attempt("docker", "compose", "--env-file", "/dev/null", "up", "--wait", **given)
    assert refused.returncode != 0
    for name in named:
        assert name in refused.stderr


def test_its_app_does_not_start_for_nobody_in_particular(deployment: Deployment) -> None:
    image = deployment.inspect(deployment.containers("app")[0])["Image"]
    refused = deployment.attempt("docker", "run", "--rm", "--read-only", "--env", "REDIS_URL=redis://redis/0", image)
    assert refused.returncode == 1
    assert "set PARLEY_AUTH_JWT_SECRET, or PARLEY_ALLOW_ANONYMOUS=1" in refused.stderr


# ---- how it is confined


@pytest.mark.parametrize("service", ["app", "balancer", "redis"])
def test_nobody_is_root_and_nothing_can_be_written(deployment: Deployment, service: str) -> None:
    for container in deployment.containers(service):
        assert deployment.execute(container, "id -u") != "0"
        status = deployment.execute(container, "cat /proc/1/status")
        assert "CapEff:\t0000000000000000" in status
        assert "CapBnd:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        root = "grep ' / ' /proc/mounts | cut -d ' ' -f 4 | cut -d , -f 1"
        assert deployment.execute(container, root) == "ro"


def test_only_the_load_balancer_can_be_reached(deployment: Deployment) -> None:
    published = {
        service: [ports for ports in deployment.inspect(each)["NetworkSettings"]["Ports"].values() if ports]
        for service in ("app", "balancer", "redis")
        for each in deployment.containers(service)
    }
    assert published["app"] == published["redis"] == []
    assert published["balancer"] == [[{"HostIp": "127.0.0.1", "HostPort": str(deployment.port)}]]


def test_the_store_wants_its_password_and_keeps_what_it_has(deployment: Deployment) -> None:
    (redis,) = deployment.containers("redis")
    assert "NOAUTH" in deployment.execute(redis, "env -u REDISCLI_AUTH redis-cli ping")
    secret = deployment.secret("REDIS_PASSWORD")
    assert secret not in deployment.execute(redis, "cat /proc/*/cmdline")
    settings = deployment.execute(redis, "redis-cli config get 'append*' maxmemory-policy").split()
    assert dict(zip(settings[::2], settings[1::2], strict=True)).items() >= {
        ("appendonly", "yes"),
        ("appendfsync", "always"),
        ("maxmemory-policy", "noeviction"),
    }


def test_a_worker_has_longer_to_stop_than_it_takes(deployment: Deployment) -> None:
    longest_stop = (
        "from app.settings import load; from app.server import STOP_WITHIN; print(load().drain_timeout + STOP_WITHIN)"
    )
    for container in deployment.containers("app"):
        longest = float(deployment.execute(container, f'python -c "{longest_stop}"'))
        assert deployment.inspect(container)["Config"]["StopTimeout"] > longest


# ---- what it serves


async def test_a_conversation_through_the_load_balancer(deployment: Deployment) -> None:
    async with connect(deployment.url, agent="echo", token=deployment.token("ada")) as client:
        assert await client.ask("hello") == "Received: hello"
        assert await client.ask("again") == "Received: again"


async def test_nobody_talks_without_a_token(deployment: Deployment) -> None:
    stranger = await WireClient.connect(deployment.ws_url)
    await stranger.send("hello", client="a-stranger")
    assert (await stranger.closed())[0] == 4401


async def test_two_tabs_on_two_workers_see_the_same(deployment: Deployment) -> None:
    token = deployment.token("ada")
    first = await WireClient.connect(deployment.ws_url)
    await first.hello(agent="countdown", token=token)
    second = await WireClient.connect(deployment.ws_url)
    await second.hello(session=first.welcome["session"], token=token)
    # the least used worker gets the next client
    assert second.welcome["worker"] != first.welcome["worker"]
    await first.count("message", content="10")
    turn = (await first.collect(is_a("ack")))[-1]["turn"]
    await asyncio.gather(first.collect(ends(turn)), second.collect(ends(turn)))
    assert first.raw_events == second.raw_events
    assert transcript(second.frames)[-1] == ("assistant", "10 9 8 7 6 5 4 3 2 1 Liftoff!")
    await asyncio.gather(first.close(), second.close())


async def test_a_file_is_there_for_every_worker(deployment: Deployment, http: httpx.AsyncClient) -> None:
    client = await WireClient.connect(deployment.ws_url)
    session = (await client.hello(agent="data", token=deployment.token("ada")))["session"]
    content = b"a,b\n" + b"1,2\n" * 100_000
    made = await http.post(f"/sessions/{session}/files", params={"name": "numbers.csv"}, content=content)
    assert made.status_code == 201, made.text
    for _ in range(4):  # of idle workers each gets its turn
        assert (await http.get(made.json()["url"])).content == content
    kept = [
        deployment.execute(each, f"find -L $PARLEY_DATA_DIR -name '{made.json()['id']}'")
        for each in deployment.containers("app")
    ]
    assert len(kept) == 2
    assert all(kept)
    await client.close()


async def test_a_push_and_the_page_come_through(deployment: Deployment, http: httpx.AsyncClient) -> None:
    client = await WireClient.connect(deployment.ws_url)
    session = (await client.hello(agent="echo", token=deployment.token("ada")))["session"]
    assert (await http.post(f"/sessions/{session}/messages", json={"content": "news"})).status_code == 202
    await client.collect(lambda frame: "news" in str(frame.get("events")))
    page = await http.get("/")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    await client.close()


async def test_a_page_under_another_name_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.get("/agents")).status_code == 200
    assert (await http.get("/agents", headers={"Host": "rebound.example.org"})).status_code == 403
    elsewhere = {"Origin": "http://elsewhere.example.org"}
    assert (await http.get("/agents", headers=elsewhere)).status_code == 403


# ---- more workers, stopped workers, dead workers


async def test_a_third_worker_gets_clients_at_once(deployment: Deployment) -> None:
    talkers = crowd(deployment)
    async with talking(talkers):
        before = {talker.worker for talker in talkers}
        assert len(before) == 2
        took = await in_thread(deployment, "up", "--detach", "--wait", "--no-recreate", "--scale", "app=3")
        late = crowd(deployment)
        async with talking(late):
            pass
    new = [talker.worker for talker in late if talker.worker not in before]
    assert len(set(new)) == 1
    # all have as many clients in the end, so the new one, which had none, got most
    assert len(new) > CLIENTS / 2
    assert [talker.losses for talker in talkers + late] == [0] * 2 * CLIENTS
    say_of(talkers, f"--scale app=3 took {took:.1f} s, {len(new)} of {CLIENTS} new clients came to the third worker")
    await in_thread(deployment, "up", "--detach", "--wait", "--no-recreate", "--scale", "app=2")


async def test_all_workers_restarted_under_load_lose_nothing(deployment: Deployment) -> None:
    talkers = crowd(deployment)
    began = deployment.run("date", "+%s")
    async with talking(talkers):
        took = await in_thread(deployment, "restart", "app")
        await answered_again(talkers)
    assert all(talker.losses for talker in talkers)
    assert exit_codes(deployment, began) == ["0", "0"]
    say_of(talkers, f"restart app took {took:.1f} s")


async def test_a_killed_worker_under_load_loses_nothing(deployment: Deployment) -> None:
    talkers = crowd(deployment)
    victim = deployment.containers("app")[0]
    restarts = deployment.inspect(victim)["RestartCount"]
    async with talking(talkers):
        # all that this user may kill in there, which is not the init process: that one ends with its child
        deployment.attempt("docker", "exec", victim, "sh", "-c", "kill -9 -1")
        await asyncio.to_thread(
            wait_until, lambda: deployment.inspect(victim)["RestartCount"] > restarts, "a new worker took its place"
        )
        await answered_again(talkers)
    lost = [talker for talker in talkers if talker.losses]
    assert 0 < len(lost) < CLIENTS
    say_of(talkers, f"kill -9 of one worker, {len(lost)} of {CLIENTS} clients on it")
    await asyncio.to_thread(wait_until, lambda: deployment.healthy("app") == 2, "both are healthy")


async def test_a_restarted_store_loses_nothing(deployment: Deployment) -> None:
    talkers = crowd(deployment)
    async with talking(talkers):
        took = await in_thread(deployment, "kill", "redis")
        took += await in_thread(deployment, "up", "--detach", "--wait", "--no-recreate", "redis")
        await answered_again(talkers)
    say_of(talkers, f"kill -9 of the store, and up again in {took:.1f} s")


def exit_codes(deployment: Deployment, since: str) -> list[str]:
    """What the app's containers ended with since then, in seconds since the epoch."""
    project = deployment.env["COMPOSE_PROJECT_NAME"]
    filters = ["event=die", f"label=com.docker.compose.project={project}", "label=com.docker.compose.service=app"]
    args = [part for each in filters for part in ("--filter", each)]
    until = deployment.run("date", "+%s")
    shown = "{{.Actor.Attributes.exitCode}}"
    return deployment.run("docker", "events", "--since", since, "--until", until, "--format", shown, *args).split()
