"""Fixtures of all tests: a Valkey of the test's own, one that all share, and servers. When a test may run."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.alone import turn
from tests.support.server import CHECKED, ROOT, ParleyServer
from tests.support.valkey import ValkeyProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with those that all others wait for."""
    items.sort(key=lambda item: not _is_alone(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Wait for a turn, before the test's clock runs."""
    with turn(alone=_is_alone(item)):
        return (yield)


def _is_alone(item: pytest.Item) -> bool:
    return item.get_closest_marker("alone") is not None


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyProcess]:
    """A Valkey of this test's own, to be killed, restarted and filled up."""
    with ValkeyProcess(tmp_path / "valkey") as process:
        yield process


@pytest.fixture(scope="session")
def _valkey_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyProcess]:
    with ValkeyProcess(tmp_path_factory.mktemp("valkey"), appendonly=False) as process:
        yield process


@pytest.fixture
def shared_valkey(_valkey_of_the_session: ValkeyProcess) -> ValkeyProcess:
    """A Valkey that all tests share, empty and without scripts at each test's start. Leave it running."""
    with _valkey_of_the_session.client() as client:
        client.flushall()
        client.script_flush()
    return _valkey_of_the_session


StartServer = Callable[..., ParleyServer]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[StartServer]:
    """Start servers: `server()`, or with handlers, `env`, `args` and `program` as ParleyServer takes them.

    Each has a folder of its own; all are ended after the test, and must leave nothing behind. A test with a store of
    its own names that one first: it has to end last.
    """
    number = itertools.count()

    def start(
        handlers: Path | Mapping[str, str] = ROOT / "handlers",
        *,
        env: Mapping[str, str] | None = None,
        args: tuple[str, ...] = (),
        program: tuple[str, ...] = CHECKED,
    ) -> ParleyServer:
        folder = tmp_path / f"server{next(number)}"
        folder.mkdir()
        made = ParleyServer(folder, handlers, env=env, args=args, program=program)
        stack.callback(made.close)
        return made.start()

    with ExitStack() as stack:
        yield start
