"""How much clients may ask for: sockets of a worker, sockets of an address, frames of a socket."""

from __future__ import annotations

from collections import Counter

from app.settings import Settings


class Admission:
    """Counts the sockets of one worker."""

    def __init__(self, settings: Settings) -> None:
        self._most = settings.max_connections
        self._most_of_one = settings.max_connections_per_address
        self._of: Counter[str] = Counter()
        self.total = 0

    def refusal(self, address: str | None) -> str:
        """Why one more socket from this address is refused; empty if it is not."""
        if self.total >= self._most:
            return f"this worker has {self._most} connections, as many as are allowed (PARLEY_MAX_CONNECTIONS)"
        if self._most_of_one and address and self._of[address] >= self._most_of_one:
            return (
                f"your address has {self._most_of_one} connections, as many as are allowed"
                " (PARLEY_MAX_CONNECTIONS_PER_ADDRESS)"
            )
        return ""

    def enter(self, address: str | None) -> None:
        """Count a socket in."""
        self.total += 1
        if self._most_of_one and address:
            self._of[address] += 1

    def leave(self, address: str | None) -> None:
        """Count it out."""
        self.total -= 1
        if self._most_of_one and address:
            self._of[address] -= 1
            self._of += Counter()  # drops what is at zero


class Bucket:
    """Lets `size` things happen at once and `rate` a second in the long run. Times are the loop's, in seconds."""

    __slots__ = ("_rate", "_room", "_since", "_size")

    def __init__(self, size: float, rate: float, now: float) -> None:
        self._size = size
        self._rate = rate
        self._room = size
        self._since = now

    def take(self, now: float) -> bool:
        """Count one thing; answers whether it was within the limit."""
        self._room = min(self._size, self._room + (now - self._since) * self._rate) - 1
        self._since = now
        return self._room >= 0
