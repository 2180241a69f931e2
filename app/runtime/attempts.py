"""The attempts at a session's turns: what they begin with, and how a turn ends whose handler is not called."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Mapping, Sequence

from app.protocol import events
from app.protocol.codec import input_from
from app.protocol.events import Event
from app.protocol.fold import Fold
from app.protocol.inputs import AnswerInput, EditInput, MessageInput
from app.runtime.durable import Asks
from app.runtime.emitter import Emitter
from app.runtime.history import fold_all
from app.runtime.registry import Agent, Hook
from app.runtime.state import SHARED, SessionState
from app.runtime.turn import Before, Lease, Outcome, Session, Turn
from app.settings import Settings
from app.store.base import Claim, Inbox

CANCELLED = Outcome("cancelled", "cancelled")
INTERRUPTED = Outcome("cancelled", "a newer message came")
REJECTED = Outcome("rejected", "another message is being answered")
ENDING = Outcome("cancelled", "the session was ended")
LOST = Outcome("interrupted", "the store lost what this was an answer to")
NO_MESSAGE = Outcome("rejected", "there is no such message of yours to edit")
NO_HANDLER = Outcome("handler_error", "this agent has no handler for this input")


NOTHING: Mapping[str, bytes] = {}
"""What an attempt has of those before it that had none."""

_NO_FOLD = Fold()
"""For an attempt that needs nothing of what was before; never fed."""


class Attempts:
    """Makes and runs the attempts of one lease. `resumed` is whether `on_chat_resume` has nothing to do in it."""

    def __init__(
        self,
        store: Inbox,
        claim: Claim,
        agent: Agent,
        settings: Settings,
        emitter: Emitter,
        state: SessionState,
        *,
        loop: asyncio.AbstractEventLoop,
        resumed: bool,
    ) -> None:
        self.resumed = resumed
        self._store = store
        self._claim = claim
        self._agent = agent
        self._emitter = emitter
        self._state = state
        self._loop = loop
        self._claimed_at = loop.time()
        self._lease = Lease(
            session=Session(claim.session, claim.user, claim.agent, claim.profile or None),
            emitter=emitter,
            state=state,
            loop=loop,
            clock=self._now,
            timeout=settings.turn_timeout,
            show_errors=settings.show_errors,
        )

    def turn(self, turn_id: str, body: bytes, *, again: bool) -> Turn:
        """The next attempt at a turn; the first one unless `again`."""
        attempt = self._claim.attempt + 1 if again else 1
        asks, steps = (self._claim.asks, self._claim.steps) if again else (NOTHING, NOTHING)
        return Turn(turn_id, attempt, input_from(body) if body else None, self._lease, asks, steps)

    async def run(self, turn: Turn, hook: Hook, answers: list[tuple[int, AnswerInput]], *, again: bool) -> None:
        """Run an attempt to its end. `answers` are those that came while none ran; they are taken."""
        resume = None if self.resumed else self._agent.hooks.get("chat_resume")
        self.resumed = True
        edit = turn.body if isinstance(turn.body, EditInput) and not again else None
        fold = await fold_all(self._store, self._claim.session) if again or resume or edit else _NO_FOLD
        edited = editing(edit, fold) if edit else []
        if edited is None:
            turn.finish(NO_MESSAGE, opening(turn))
            return
        before = self._resumption(turn, resume, fold) if resume else None
        if again:
            first = reopening(turn, fold, self._take(answers, turn.asking.asks, fold.open_asks()), self._restored(fold))
        else:
            first = [*opening(turn), *edited]
        turn.begin(first)
        if self._claim.left_by or not hook.retry:
            # From now on the store knows that it was begun: a handler that is not to run twice does not, and one
            # that kills its worker at once is found out.
            await turn.flush()
        await turn.run(hook, before, self._agent.hooks.get("stop"))

    async def refuse(self, turn_id: str, body: bytes, outcome: Outcome, *, again: bool) -> None:
        """End a turn without calling its handler; what an earlier attempt showed stays."""
        turn = self._made(turn_id, self._claim.attempt if again else 1, body)
        if again:
            fold = await fold_all(self._store, self._claim.session)
            turn.finish(outcome, [*fold.closing_events(), *self._restored(fold)])
        else:
            turn.finish(outcome, opening(turn))

    def reject(self, turn_id: str, body: bytes, outcome: Outcome) -> None:
        """Show a turn that is not to be begun, and its end, beside the one that runs. It is the caller's to settle."""
        turn = self._made(turn_id, 1, body)
        self._emitter.emit(turn.id, turn.attempt, [*opening(turn), *turn.ending(outcome)])

    def _made(self, turn_id: str, attempt: int, body: bytes) -> Turn:
        return Turn(turn_id, attempt, input_from(body) if body else None, self._lease, NOTHING, NOTHING)

    def _take(
        self, answers: list[tuple[int, AnswerInput]], asks: Asks, open_asks: Container[str]
    ) -> dict[str, list[Event]]:
        """Keep what was answered between two attempts with the append that begins the second; what shows it.

        An ask that an attempt in between has taken back is not open any more, and its answer comes too late.
        """
        shown = {}
        for index, answer in answers:
            if answer.ask in open_asks and (taken := asks.answered_between(answer)):
                key, record, shown[answer.ask] = taken
                self._emitter.note_ask(key, record)
            self._emitter.settle(index)
        answers.clear()
        return shown

    def _restored(self, fold: Fold) -> list[Event]:
        """What takes back a change of the shared state that was shown, and lost with its worker."""
        kept = self._state.get(SHARED)
        return [] if kept == fold.state else [events.state_snapshot(kept)]

    def _resumption(self, turn: Turn, hook: Hook, fold: Fold) -> Before:
        session = turn.session
        thread = {"id": session.id, "agent": session.agent, "user": session.user, **fold.snapshot()}

        async def resume() -> None:
            body, turn.body = turn.body, thread
            try:
                await hook.call(turn)
            finally:
                turn.body = body

        return resume

    def _now(self) -> int:
        """The store's time in ms, as far as this lease's age tells it."""
        return self._claim.time + int((self._loop.time() - self._claimed_at) * 1000)


def opening(turn: Turn) -> list[Event]:
    """The events of a first attempt: its start, and what the user said, for all tabs."""
    started = [events.run_started(turn.session.id, turn.id)]
    body = turn.body
    if isinstance(body, MessageInput):
        started += events.user_message(body.id or turn.new_id(), body.content, body.metadata)
    return started


def editing(edit: EditInput, fold: Fold) -> list[Event] | None:
    """What puts another content in place of a user's message and takes away all that came after it.

    None if the conversation holds no such message of the user.
    """
    messages = fold.snapshot()["messages"]
    places = [i for i, m in enumerate(messages) if m["id"] == edit.id and m["role"] == "user"]
    if not places:
        return None
    later = [events.message_removed(message["id"]) for message in messages[places[0] + 1 :]]
    echo = events.user_message(edit.id, edit.content)
    text = "".join(event["delta"] for event in echo if "delta" in event)
    metadata = echo[0].get("metadata")
    return [*later, events.message_updated(edit.id, text, **({"metadata": metadata} if metadata else {}))]


def reopening(turn: Turn, fold: Fold, answered: Mapping[str, list[Event]], restored: Sequence[Event]) -> list[Event]:
    """The events of a next attempt, in one append: what is open is closed, what was shown is named.

    `answered` shows the ends of asks that were answered after the earlier attempt's worker died, `restored` the
    shared state as it was before the earlier attempt.
    """
    closed: list[Event] = []
    for event in fold.closing_events():
        closed += answered.get(event.get("value", {}).get("id", ""), [event])
    return [
        *closed,
        events.superseded(fold.shown(turn.id)),
        *restored,
        events.run_started(turn.session.id, turn.id),
    ]


def verdict(hook: Hook | None, deaths: int, most: int) -> Outcome | None:
    """How a turn that another owner left ends without its handler being called, or None if it is to be called."""
    if deaths >= most:
        return Outcome("poisoned", f"given up: {deaths} workers died in this turn")
    if deaths and hook is not None and not hook.retry:
        return Outcome("interrupted", "the worker died, and this handler is not to be run twice")
    return None
