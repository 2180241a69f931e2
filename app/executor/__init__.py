"""Sync and async: blocking functions in bounded threads, and coroutines in synchronous code.

- `bridge`: make_async, run_sync, and the worker's executor and loop
- `stream`: a blocking generator as an async one
- `visit`: a thread that waits for a coroutine
- `driver`: a coroutine in which synchronous code can wait
- `pool`: who gets a thread, who waits for one, who is refused
- `call`: one call, and the threads
- `children`: processes
- `fair`: the queue
- `context`: context variables on their way back
"""

from app.executor.bridge import install, make_async, run_sync, uninstall
from app.executor.driver import drive
from app.executor.pool import BoundedExecutor, Stats, executor_key

__all__ = [
    "BoundedExecutor",
    "Stats",
    "drive",
    "executor_key",
    "install",
    "make_async",
    "run_sync",
    "uninstall",
]
