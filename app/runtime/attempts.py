"""What an attempt begins with, and how a turn ends whose handler is not called."""

from __future__ import annotations

from app.protocol import events
from app.protocol.events import Event
from app.protocol.fold import Fold
from app.protocol.inputs import MessageInput
from app.runtime.registry import Hook
from app.runtime.turn import Outcome, Turn

CANCELLED = Outcome("cancelled", "cancelled")
INTERRUPTED = Outcome("cancelled", "a newer message came")
REJECTED = Outcome("rejected", "another message is being answered")
ENDING = Outcome("cancelled", "the session was ended")
NO_HANDLER = Outcome("handler_error", "this agent has no handler for this input")


def opening(turn: Turn) -> list[Event]:
    """The events of a first attempt: its start, and what the user said, for all tabs."""
    started = [events.run_started(turn.session.id, turn.id)]
    body = turn.body
    if isinstance(body, MessageInput):
        started += events.user_message(body.id or turn.new_id(), body.content, body.metadata)
    return started


def reopening(turn: Turn, fold: Fold) -> list[Event]:
    """The events of a next attempt, in one append: what is open is closed, what was shown is named."""
    return [
        *fold.closing_events(),
        events.superseded(fold.shown(turn.id)),
        events.run_started(turn.session.id, turn.id),
    ]


def verdict(hook: Hook | None, deaths: int, most: int) -> Outcome | None:
    """How a turn that another owner left ends without its handler being called, or None if it is to be called."""
    if deaths >= most:
        return Outcome("poisoned", f"given up: {deaths} workers died in this turn")
    if deaths and hook is not None and not hook.retry:
        return Outcome("interrupted", "the worker died, and this handler is not to be run twice")
    return None
