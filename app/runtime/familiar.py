"""The sessions this worker has just had: what it need not rebuild, and the values that only it can keep."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from app.store.base import Claim

REMEMBERED = 10_000
"""Sessions remembered; the least recent one is forgotten, as if another worker had taken it."""


class Familiar:
    """Knows a session as long as no other worker has held its lease since."""

    def __init__(self) -> None:
        self._left: OrderedDict[str, tuple[str, dict[str, Any]]] = OrderedDict()

    def knows(self, claim: Claim) -> bool:
        """Whether the lease before this one was this worker's."""
        left = self._left.get(claim.session)
        return left is not None and left[0] == claim.previous

    def local(self, claim: Claim) -> dict[str, Any]:
        """The values of a session it knows that were kept here only."""
        return self._left[claim.session][1]

    def left(self, claim: Claim, local: dict[str, Any]) -> None:
        """Remember a session whose lease is given up."""
        self._left[claim.session] = (claim.mark, local)
        self._left.move_to_end(claim.session)
        if len(self._left) > REMEMBERED:
            self._left.popitem(last=False)

    def forget(self, session: str) -> None:
        """Forget a session that has ended."""
        self._left.pop(session, None)
