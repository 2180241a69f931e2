"""What the store need not say again: the sessions whose last lease was this worker's, as it left them."""

from __future__ import annotations

from collections import OrderedDict

from app.protocol.frames import Position
from app.store.base import Batch, Claim, Input

REMEMBERED = 10_000
"""Sessions remembered; the least recent one is forgotten."""


class Known:
    """Claims of sessions as the next one would find them. The store decides whether that still is so, by the mark."""

    def __init__(self) -> None:
        self._claims: OrderedDict[str, Claim] = OrderedDict()

    def get(self, session: str) -> Claim | None:
        """The session as it was left; `mark` is that of the lease which left it."""
        return self._claims.get(session)

    def left(self, claim: Claim, expected: int, batch: Batch, log_bytes: int) -> None:
        """A lease was given up with this batch, and there is no turn that goes on."""
        if batch.entries:
            head = Position(batch.entries[-1].last, claim.mark)
        else:
            head = claim.head if expected == claim.head.seq else Position(expected, claim.mark)
        kept = claim._replace(head=head, log_bytes=log_bytes, run="", deaths=0, inputs=[], asks={}, steps={})
        self._claims[claim.session] = kept
        self._claims.move_to_end(claim.session)
        if len(self._claims) > REMEMBERED:
            self._claims.popitem(last=False)

    def forget(self, session: str) -> None:
        """The session is not as it was left any more."""
        self._claims.pop(session, None)


def again(left: Claim, mark: str, new: Input, time: int) -> Claim:
    """The next lease of a session that nobody has had since, with the one input that waits.

    Its values are its own to change: a store that loses this lease may have those that were left once more.
    """
    return Claim(
        left.session, left.user, left.agent, mark, left.mark, left.head, left.floor, left.log_bytes, "", 0, 0, [new],
        dict(left.state), left.asks, left.steps, time, "", left.profile,
    )  # fmt: skip
