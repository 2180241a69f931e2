"""A queue that takes from every key in turn, so that nobody waits behind all of somebody else's."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Keyed(Protocol):
    """What can be queued: hashable by identity, with the key of whom it is for."""

    @property
    def key(self) -> str:
        """Whose it is."""


K = TypeVar("K", bound=Keyed)


class FairQueue(Generic[K]):
    """First in, first out within a key; round robin over the keys. Every operation takes constant time."""

    def __init__(self) -> None:
        self._lines: OrderedDict[str, OrderedDict[K, None]] = OrderedDict()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def push(self, item: K) -> None:
        """Put an item last among those of its key."""
        self._lines.setdefault(item.key, OrderedDict())[item] = None
        self._length += 1

    def pop(self) -> K | None:
        """The first item of the key whose turn it is, or None."""
        if not self._lines:
            return None
        item = next(iter(next(iter(self._lines.values()))))
        self._lines.move_to_end(item.key)
        self.remove(item)
        return item

    def remove(self, item: K) -> bool:
        """Take one item out; False if it is not in here."""
        line = self._lines.get(item.key)
        if line is None or item not in line:
            return False
        del line[item]
        if not line:
            del self._lines[item.key]
        self._length -= 1
        return True

    def drain(self) -> list[K]:
        """Take out all items."""
        items = [item for line in self._lines.values() for item in line]
        self._lines.clear()
        self._length = 0
        return items
