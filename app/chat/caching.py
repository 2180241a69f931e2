"""Keeping what a function has returned, on this worker, for the next call with the same arguments."""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from functools import lru_cache, wraps
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

MAX_CACHED = 256
"""Results of one function that are kept; past it the one that was longest not asked for goes."""


def cache(function: F) -> F:
    """Keep what a function returns for each list of arguments: on this worker, for all sessions and users of it.

    At most 256 results, the longest unused go first; nothing expires. Equal calls of an async function wait for
    the first one instead of running too; one of a function that raises is not kept. Arguments are hashable.
    Never cache what depends on who is asking. Raises: TypeError for a generator, or when called with arguments
    that cannot be hashed.
    """
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise TypeError(f"cache() was given {function!r}: a generator's items can be read once only")
    kept: Any = _Cache(function).wrapped() if inspect.iscoroutinefunction(function) else lru_cache(MAX_CACHED)(function)
    return kept  # type: ignore[no-any-return]


class _Cache:
    """The results of one async function."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._locks: dict[Hashable, asyncio.Lock] = {}
        self._calls: Counter[Hashable] = Counter()

    def wrapped(self) -> Callable[..., Any]:
        @wraps(self._function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            key = (args, tuple(sorted(kwargs.items())))
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
            return await self._one_by_one(key, args, kwargs)

        return call

    async def _one_by_one(self, key: Hashable, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Wait for the call that is at it; if that fails, the next one tries."""
        self._calls[key] += 1
        try:
            async with self._locks.setdefault(key, asyncio.Lock()):
                if key not in self._kept:
                    self._keep(key, await self._function(*args, **kwargs))
                return self._kept[key]
        finally:
            self._calls[key] -= 1
            if not self._calls[key]:
                del self._calls[key], self._locks[key]

    def _keep(self, key: Hashable, result: Any) -> None:
        self._kept[key] = result
        if len(self._kept) > MAX_CACHED:
            self._kept.popitem(last=False)
