"""One deployment for all tests, and who talks to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from tests.docker.deployment import Deployment
from tests.docker.report import say


@pytest.fixture(scope="session")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A fresh clone, in which nothing runs yet unless `deployment` is asked for too."""
    made = Deployment(tmp_path_factory.mktemp("docker"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def deployment(clone: Deployment) -> Deployment:
    """The same, started as README.md says."""
    began = time.monotonic()
    clone.start()
    say(f"up --build --wait took {time.monotonic() - began:.1f} s")
    return clone


@pytest.fixture
async def http(deployment: Deployment) -> AsyncIterator[httpx.AsyncClient]:
    """A signed-in client of the load balancer."""
    async with signed_in(deployment) as client:
        yield client


def signed_in(deployment: Deployment) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {deployment.token('ada')}"}
    return httpx.AsyncClient(base_url=deployment.url, headers=headers, trust_env=False, timeout=20)
