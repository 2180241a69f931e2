"""The current turn, as the code that runs in it sees it."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING

from app.errors import OutsideTurn

if TYPE_CHECKING:
    from app.runtime.turn import Turn

current: ContextVar[Turn | None] = ContextVar("parley_turn", default=None)
"""The turn this code runs in; tasks and executor calls that a handler starts inherit it."""


def turn() -> Turn:
    """The current turn. Raises: OutsideTurn."""
    found = current.get()
    if found is None:
        raise OutsideTurn("this works only inside a turn: in a handler, or in what it calls or starts")
    return found


def running() -> Turn:
    """The current turn, which has not ended: a task that outlived it has no part in it. Raises: OutsideTurn."""
    found = turn()
    if found.is_over:
        raise OutsideTurn("the turn has ended: what belongs to it can no longer be used or changed")
    return found
