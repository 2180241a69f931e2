"""`make_async(f, process=True)`: work in processes, whose ends concern nobody else."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest

from app.errors import ExecutorBusy
from app.executor import BoundedExecutor, install, make_async
from tests.executor.conftest import MakeExecutor
from tests.executor.gate import until

pytestmark = pytest.mark.timeout(60)

with_worker = pytest.mark.usefixtures("worker")


# ---- what runs in the children


class Odd(Exception):
    """Cannot be made again from its arguments."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} and {b}")


def product(n: int, *, by: int) -> int:
    return n * by


def fail(message: str) -> None:
    raise LookupError(message)


def fail_oddly() -> None:
    raise Odd(1, 2)


def unpicklable() -> object:
    return lambda: None


def leave(code: int) -> None:
    sys.exit(code)


def kill_myself() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for(path: Path) -> int:
    """The process's id, once the file is there."""
    Path(f"{path}.{os.getpid()}").touch()
    while not path.exists():
        time.sleep(0.005)
    return os.getpid()


def numbers() -> Iterator[int]:
    yield 1


def working(path: Path) -> list[int]:
    """The ids of the processes that are in `wait_for`."""
    return [int(each.suffix[1:]) for each in path.parent.glob(f"{path.name}.*")]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


# ---- results and errors


@with_worker
async def test_arguments_and_result() -> None:
    assert await make_async(divmod, process=True)(7, 3) == (2, 1)
    assert await make_async(product, process=True)(6, by=7) == 42
    assert await make_async(os.getpid, process=True)() != os.getpid()


@with_worker
async def test_a_child_is_used_again() -> None:
    getpid = make_async(os.getpid, process=True)
    assert await getpid() == await getpid()


@with_worker
async def test_an_error_has_a_note_of_its_traceback() -> None:
    with pytest.raises(LookupError, match="here") as caught:
        await make_async(fail, process=True)("here")
    assert "raise LookupError(message)" in caught.value.__notes__[0]


@with_worker
async def test_what_cannot_be_sent_is_this_calls_error_only() -> None:
    getpid = make_async(os.getpid, process=True)
    pid = await getpid()
    with pytest.raises(Exception, match="lambda"):  # pickle's own error, of a type that depends on the version
        await make_async(lambda: None, process=True)()
    with pytest.raises(RuntimeError, match="cannot be sent back from a process"):
        await make_async(unpicklable, process=True)()
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        await make_async(fail_oddly, process=True)()
    assert await getpid() == pid


async def test_children_import_from_packages_made_by_hand(
    worker: BoundedExecutor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As agents are: no import finds their package."""
    (tmp_path / "module.py").write_text("def where():\n    return __name__\n")
    package = ModuleType("handmade")
    package.__path__ = [str(tmp_path)]
    monkeypatch.setitem(sys.modules, "handmade", package)
    module = importlib.import_module("handmade.module")
    monkeypatch.setitem(sys.modules, "handmade.module", module)
    assert await make_async(module.where, process=True)() == "handmade.module"
    assert worker.stats().threads == 1


def test_a_generator_cannot_run_in_a_process() -> None:
    with pytest.raises(TypeError, match="a generator cannot run in a process"):
        make_async(numbers, process=True)


# ---- ends


@pytest.mark.parametrize("end", [partial(leave, 3), kill_myself], ids=["exit", "kill"])
async def test_a_crash_is_the_error_of_that_call_alone(
    worker: BoundedExecutor, tmp_path: Path, end: partial[None]
) -> None:
    go = tmp_path / "go"
    other = asyncio.create_task(make_async(wait_for, process=True)(go))
    await until(lambda: len(working(go)) == 1)
    with pytest.raises(ChildProcessError, match=r"ended with exit code (3|-9) and no result"):
        await make_async(end, process=True)()
    assert await make_async(os.getpid, process=True)() > 0
    go.touch()
    assert await other == working(go)[0]
    assert worker.stats()[1:4] == (0, 0, 0)


@with_worker
async def test_a_child_that_died_idle_is_replaced() -> None:
    getpid = make_async(os.getpid, process=True)
    pid = await getpid()
    os.kill(pid, signal.SIGKILL)
    await until(lambda: gone(pid))
    assert await getpid() != pid


async def test_cancelling_ends_no_process(worker: BoundedExecutor, tmp_path: Path) -> None:
    go = tmp_path / "go"
    tasks = [asyncio.create_task(make_async(wait_for, process=True)(go)) for _ in range(2)]
    await until(lambda: len(working(go)) == 2)
    tasks[0].cancel()
    await asyncio.wait({tasks[0]})
    assert worker.stats()[:4] == (2, 2, 0, 1)
    go.touch()
    await tasks[1]
    await until(lambda: worker.stats().abandoned == 0)
    assert {await make_async(wait_for, process=True)(go) for _ in range(3)} <= set(working(go))
    assert len(working(go)) == 2


async def test_there_are_no_more_children_than_threads(make_executor: MakeExecutor, tmp_path: Path) -> None:
    executor = make_executor(2, queue=1)
    install(executor, asyncio.get_running_loop())
    go = tmp_path / "go"
    tasks = [asyncio.create_task(make_async(wait_for, process=True)(go)) for _ in range(3)]
    await until(lambda: len(working(go)) == 2)
    with pytest.raises(ExecutorBusy):
        await make_async(wait_for, process=True)(go)
    go.touch()
    await asyncio.gather(*tasks)
    assert len(working(go)) == 2


async def test_shutdown_ends_the_children(make_executor: MakeExecutor, tmp_path: Path) -> None:
    executor = make_executor(2)
    install(executor, asyncio.get_running_loop())
    go = tmp_path / "go"
    idle = await make_async(os.getpid, process=True)()
    busy = asyncio.create_task(make_async(wait_for, process=True)(go))
    second = asyncio.create_task(make_async(wait_for, process=True)(go))
    await until(lambda: len(working(go)) == 2)
    assert not executor.shutdown()
    go.touch()
    pids = {idle, await busy, await second}
    await until(lambda: all(map(gone, pids)))


def wait_until(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.01)


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    """Killed as hard as can be, with one child at work and one idle."""
    go = tmp_path / "go"
    script = f"""
import asyncio, os
from pathlib import Path
from app import make_async
from tests.executor.test_children import wait_for
async def main():
    work = make_async(wait_for, process=True)
    await asyncio.gather(work(Path({str(go)!r})), work(Path({str(tmp_path / "never")!r})))
if __name__ == "__main__":
    asyncio.run(main())
"""
    file = tmp_path / "script.py"
    file.write_text(script)
    root = Path(__file__).parent.parent.parent
    parent = subprocess.Popen([sys.executable, file], env=os.environ | {"PYTHONPATH": str(root)})
    try:
        wait_until(lambda: len(working(go)) + len(working(tmp_path / "never")) == 2)
        pids = working(go) + working(tmp_path / "never")
        go.touch()
    finally:
        parent.kill()
        parent.wait()
    (tmp_path / "never").touch()
    wait_until(lambda: all(map(gone, pids)))
