"""Who may start docker-compose.yml, and what its containers may do."""

from __future__ import annotations

import pytest

from tests.docker.deployment import ENGINE_NEEDED, Deployment

pytestmark = ENGINE_NEEDED

NEEDED = {"REDIS_PASSWORD": "for-a-test", "PARLEY_ALLOW_ANONYMOUS": "1"}


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


@pytest.mark.parametrize("given", ["PARLEY_ALLOW_ANONYMOUS", "PARLEY_AUTH_JWT_SECRET"])
def test_either_way_to_say_who_may_come_will_do(clone: Deployment, given: str) -> None:
    env = {"REDIS_PASSWORD": "for-a-test", given: "1" * 32}
    shown = clone.attempt("docker", "compose", "--env-file", "/dev/null", "config", "--quiet", **env)
    assert (shown.returncode, shown.stderr) == (0, "")


def test_the_image_alone_does_not_start_for_nobody_in_particular(deployment: Deployment) -> None:
    image = deployment.inspect(deployment.containers("app")[0])["Image"]
    refused = deployment.attempt("docker", "run", "--rm", "--read-only", "--env", "REDIS_URL=redis://redis/0", image)
    assert refused.returncode == 1
    assert "set PARLEY_AUTH_JWT_SECRET, or PARLEY_ALLOW_ANONYMOUS=1" in refused.stderr


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
