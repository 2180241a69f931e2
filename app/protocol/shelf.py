"""What a fold keeps: things by key, in the order they came, bounded in count and in bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

from app.protocol.values import size

K = TypeVar("K", bound=Hashable)


class Shelf(Generic[K]):
    """JSON objects by key, oldest first. Past a bound the oldest goes, one that is not `spared` before one that is."""

    def __init__(self, most: int, most_bytes: int, spared: Callable[[K], bool] = lambda _: False) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._spared = spared
        self._things: dict[K, dict[str, Any]] = {}
        self._sizes: dict[K, int] = {}
        self._bytes = 0
        self.lost = False
        """Whether anything had to go."""

    def __contains__(self, key: K) -> bool:
        return key in self._things

    def __bool__(self) -> bool:
        return bool(self._things)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._things.values())

    def get(self, key: K) -> dict[str, Any] | None:
        """The object under `key`."""
        return self._things.get(key)

    def size(self, key: K) -> int:
        """The JSON bytes of the object under `key`. Raises: KeyError."""
        return self._sizes[key]

    def put(self, key: K, thing: dict[str, Any], got: int | None = None) -> None:
        """Keep `thing`, of `got` JSON bytes: at the end, or in the place of the one that has its key."""
        got = size(thing) if got is None else got
        self._things[key] = thing
        self._bytes += got - self._sizes.get(key, 0)
        self._sizes[key] = got
        if self._bytes > self._most_bytes or len(self._things) > self._most:
            self._make_room_for(key)

    def grown(self, key: K, by: int) -> None:
        """The object under `key` has become `by` bytes larger where it stands."""
        self._sizes[key] += by
        self._bytes += by
        if self._bytes > self._most_bytes:
            self._make_room_for(key)

    def _make_room_for(self, key: K) -> None:
        while len(self._things) > 1 and (len(self._things) > self._most or self._bytes > self._most_bytes):
            self.drop(self._next_to_go(key))
            self.lost = True

    def drop(self, key: K) -> None:
        """Forget the object under `key`, if there is one."""
        if self._things.pop(key, None) is not None:
            self._bytes -= self._sizes.pop(key)

    def _next_to_go(self, kept: K) -> K:
        for key in self._things:
            if key != kept and not self._spared(key):
                return key
        return next(key for key in self._things if key != kept)
