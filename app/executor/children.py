"""Child processes for work that would hold the interpreter's lock: one call each at a time."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_CONTEXT = multiprocessing.get_context("forkserver")
"""Not fork: this process has threads. Not spawn: a new child would import everything again."""
_CONTEXT.set_forkserver_preload([__name__])


class Children:
    """Calls functions in processes of their own, kept for the next call. As many exist as calls ran at once.

    Function, arguments and result are pickled; context variables stay behind.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._closed = False

    def call(self, f: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a function in a child, and wait for it in this thread.

        Raises: ChildProcessError if the child ended instead; no other call has to do with that. And what the
        function raises, with a note of its traceback, or what pickling raises.
        """
        child = self._take()
        try:
            return child.call(f, args, kwargs)
        finally:
            self._give_back(child)

    def close(self) -> None:
        """End the children; those that still work end when they are done, or with this process."""
        with self._lock:
            self._closed = True
            while self._idle:
                self._idle.pop().end()

    def _take(self) -> _Child:
        with self._lock:
            while self._idle:
                child = self._idle.pop()
                if child.usable:
                    return child
            return _Child()

    def _give_back(self, child: _Child) -> None:
        with self._lock:
            if self._closed or not child.usable:
                child.end()
            else:
                self._idle.append(child)


class _Child:
    """A process, and the pipe to it."""

    def __init__(self) -> None:
        self._pipe, there = _CONTEXT.Pipe()
        args = (there, _handmade_packages())
        self._process = _CONTEXT.Process(target=_serve, args=args, name="parley-child", daemon=True)
        self._process.start()
        there.close()

    @property
    def usable(self) -> bool:
        return not self._pipe.poll()  # it says nothing unasked: what could be read is the end of a dead one's pipe

    def call(self, f: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
        try:
            self._pipe.send((f, args, kwargs))
            returned, outcome = self._pipe.recv()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            self._process.join()
            name = getattr(f, "__qualname__", f)
            raise ChildProcessError(
                f"the process that ran {name} ended with exit code {self._process.exitcode} and no result"
            ) from None
        if returned:
            return outcome  # type: ignore[no-any-return]  # what the function returned
        raise outcome

    def end(self) -> None:
        """Let it end: it reads the end of the pipe."""
        self._pipe.close()


def _handmade_packages() -> dict[str, list[str]]:
    """The packages that no import finds, like the one agents are loaded into: a child must be told their folders."""
    modules = list(sys.modules.items())
    return {name: list(m.__path__) for name, m in modules if hasattr(m, "__path__") and m.__spec__ is None}


# ---- in the child


def _serve(pipe: Connection, packages: dict[str, list[str]]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C in a terminal: the parent decides when it ends
    for name, folders in packages.items():
        package = sys.modules.setdefault(name, ModuleType(name))
        package.__path__ = folders
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # the parent has ended or lets it end
        while True:
            _answer(pipe, pipe.recv_bytes())


def _answer(pipe: Connection, request: bytes) -> None:
    try:
        f, args, kwargs = ForkingPickler.loads(request)
        answer = (True, f(*args, **kwargs))
    except Exception as error:  # noqa: BLE001  # the caller's to handle; what is no Exception ends the child
        answer = (False, _noted(error))
    try:
        pipe.send(answer)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001  # it cannot be pickled
        pipe.send((False, RuntimeError(f"{answer[1]!r} cannot be sent back from a process: {error!r}")))


def _noted(error: Exception) -> Exception:
    error.add_note("".join(["In a child process:\n", *traceback.format_exception(error)]))
    return error
