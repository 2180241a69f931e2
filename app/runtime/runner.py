"""Owns one session for the time of one lease: reads its inbox, runs its turns in order, writes their ends."""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from app import logs
from app.errors import Regressed, StoreError
from app.metrics import HANDOVERS, LEASES_LOST
from app.protocol.codec import input_from
from app.protocol.inputs import ActionInput, AnswerInput
from app.protocol.pushes import Push
from app.runtime.attempts import CANCELLED, ENDING, INTERRUPTED, LOST, NO_HANDLER, REJECTED, Attempts, verdict
from app.runtime.emitter import Emitter
from app.runtime.familiar import Familiar
from app.runtime.registry import Agent, Hook
from app.runtime.state import SessionState, given
from app.runtime.turn import Outcome, Turn
from app.settings import Settings
from app.store.base import Batch, Claim, Inbox, Input

log = logs.get(__name__)

HOOKS = {"start": "chat_start", "edit": "message"}
"""The hooks whose names are not those of the inputs they are for."""

LAST = "last."
"""What the id of `on_chat_end`'s turn begins with: it alone is for no input. Any other has lost its own."""

SPOKEN = frozenset({"message", "edit"})
"""Inputs to which the agent's policy applies: what a user says, and not what a button or a start is."""

REST_SECONDS = 30.0
"""After how long an owner that keeps its lease for values of its own looks whether anybody is still attached."""

Keep = Callable[["asyncio.Task[None]"], None]
"""Takes a task nobody waits for any more."""


class Runner:
    """Runs a session's turns until its inbox is empty or its lease is gone."""

    def __init__(
        self,
        store: Inbox,
        claim: Claim,
        agent: Agent,
        settings: Settings,
        familiar: Familiar,
        keep: Keep,
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.claim = claim
        self.released = False
        self._store = store
        self._agent = agent
        self._settings = settings
        self._familiar = familiar
        self._keep, self._loop = keep, loop
        self._emitter = Emitter(
            store,
            claim,
            loop,
            window=settings.delta_window_ms / 1000,
            keep=(settings.log_events, settings.log_bytes),
            lost=self._lost,
        )
        kept = given(claim) | claim.state
        known = familiar.knows(claim)
        self._state = SessionState(claim.session, kept, familiar.local(claim) if known else {}, settings.state_bytes)
        self._queue: deque[Input] = deque()
        self._seen = 0
        self._controls: list[int] = []
        self._answers: list[tuple[int, AnswerInput]] = []
        self._verdicts: dict[str, Outcome] = {}
        self._ending = claim.expired
        self._draining = False
        resumed = known or claim.head.seq == 0
        self._attempts = Attempts(store, claim, agent, settings, self._emitter, self._state, loop=loop, resumed=resumed)
        self._unfinished = claim.run
        self._turn: Turn | None = None
        self._doing = ""
        self._todo: Input | None = None
        self._reading: asyncio.Task[None] | None = None
        self._unread = False
        self._news: asyncio.Event | None = None

    async def run(self) -> None:
        """Run all there is to run, and give the lease up. Raises: Fenced, Regressed when it was lost before."""
        try:
            self._take(self.claim.inputs)
            if self._unfinished.startswith(LAST):
                self._ending = True
            elif self._unfinished and self._unfinished not in {queued.turn for queued in self._queue}:
                await self._attempts.refuse(self._unfinished, b"", LOST, again=True)
                self._unfinished = ""
                await self._commit(Batch(finished=True, done=self._unused()))
            while not self.released:
                await self._step()
        finally:
            if self._reading is not None:
                self._reading.cancel()
            await self._emitter.close()

    def wake(self) -> None:
        """There is something new in the inbox."""
        self._unread = True
        if self._reading is None:
            self._reading = self._loop.create_task(self._read())

    def drain(self) -> None:
        """Take no further turn; hand the session over after the running one."""
        self._draining = True
        self._stir()

    async def hand_over(self) -> None:
        """Give the session up at once, its turn unfinished, for another worker to run as its next attempt."""
        if self._turn is not None:
            self._turn.forget()
        if not self.released:
            await self._give_away()
            self._emitter.hold()  # what the cancelled handler still says is for nobody

    def fence(self, failure: StoreError) -> None:
        """Stop writing: this session has another owner, or the store lost what we go by."""
        self._emitter.drop(failure)

    @property
    def written(self) -> int:
        """The last position that the store is known to have had."""
        return self._emitter.head.seq

    # ---- the inbox

    async def _read(self) -> None:
        try:
            while self._unread:
                self._unread = False
                inputs = await self._store.inbox(self.claim.session)
                self._compare(inputs)
                self._take(inputs)
        except StoreError as error:
            log.warning("inbox_not_read", session=self.claim.session, reason=str(error))
        finally:
            self._reading = None

    def _compare(self, inputs: list[Input]) -> None:
        """See that what we work on is in the inbox: a store that lost its tail gives the same index out again."""
        kept = {new.index: new.turn for new in inputs}
        ours = {each.index: each.turn for each in self._queue} | dict.fromkeys(self._controls, "")
        if self._todo is not None:
            ours[self._todo.index] = self._todo.turn
        if any(kept.get(index) != turn for index, turn in ours.items()):
            self.fence(Regressed(self.claim.session))

    def _has(self, index: int) -> bool:
        """Whether an input that was taken is still to be done, or to be seen to leave the inbox."""
        ours = [*(each.index for each in self._queue), *(answer for answer, _ in self._answers), *self._controls]
        return index in ours or self._emitter.settles(index)

    def _stir(self) -> None:
        if self._news is not None:
            self._news.set()

    def _take(self, inputs: list[Input]) -> None:
        self._stir()
        for new in inputs:
            if new.index > self._seen:
                self._seen = new.index
                self._take_one(new)

    def _take_one(self, new: Input) -> None:
        if new.kind == "cancel":
            self._controls.append(new.index)
            self._stop(new.target, CANCELLED)
        elif new.kind == "end":
            self._controls.append(new.index)
            self._ending = True
            for queued in self._queue:
                self._stop(queued.turn, ENDING)
            if self._turn is not None:
                self._turn.cancel(ENDING)
        elif new.kind == "answer":
            self._answer(new)
        elif new.kind == "push":
            self._show(new)
        else:
            self._queue.append(new)
            if self._ending:
                self._stop(new.turn, ENDING)
            elif new.kind == "message":
                self._meet(new)

    def _answer(self, new: Input) -> None:
        """Give an answer to the ask that waits for it; a late or second one changes nothing."""
        answer = input_from(new.body)
        assert isinstance(answer, AnswerInput)  # noqa: S101  # nothing else is kept under this kind
        if self._turn is None and self._unfinished:
            self._answers.append((new.index, answer))
            return
        if self._turn is not None:
            self._turn.asking.answer(answer)
        self._emitter.settle(new.index)

    def _show(self, pushed: Input) -> None:
        """Show a push now, whatever runs: its events and its leaving the inbox are one append."""
        push = input_from(pushed.body)
        assert isinstance(push, Push)  # noqa: S101  # nothing else is kept under this kind
        self._emitter.emit(None, 0, push.events(pushed.target), len(pushed.body))
        self._emitter.settle(pushed.index)

    def _stop(self, target: str, outcome: Outcome) -> None:
        if self._turn is not None and self._turn.id == target:
            self._turn.cancel(outcome)
        else:
            self._verdicts.setdefault(target, outcome)

    def _meet(self, new: Input) -> None:
        """Apply the agent's policy to a message that comes before an earlier one is answered."""
        hook = self._agent.hooks.get("message")
        if hook is None or hook.policy == "enqueue":
            return
        earlier = [queued for queued in self._queue if queued is not new and queued.kind in SPOKEN]
        running = self._turn if self._doing in SPOKEN else None
        if hook.policy == "interrupt":
            for queued in earlier:
                self._stop(queued.turn, INTERRUPTED)
            if running is not None:
                running.cancel(INTERRUPTED)
        elif earlier or running is not None:
            self._queue.pop()
            self._attempts.reject(new.turn, new.body, REJECTED)
            self._emitter.settle(new.index)

    # ---- turns

    async def _step(self) -> None:
        if self._draining and (self._queue or self._unfinished or self._ending):
            await self._give_away()
        elif self._queue:
            await self._do(self._queue.popleft())
        elif self._ending:
            await self._end()
        elif not (self._rests and await self._hears_of_something()):
            await self._commit(Batch(release=True, unattended=self._rests, finished=bool(self._unfinished)))

    @property
    def _rests(self) -> bool:
        """Whether the lease is kept while somebody is attached: it holds values that are on this worker only."""
        return bool(self._state.local) and not self._draining

    async def _hears_of_something(self) -> bool:
        """Rest until there is something new; False if it is time to see whether everybody has left."""
        if self._controls or self._emitter.failure:
            return False
        self._news = news = asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_SECONDS):
                await news.wait()
        self._news = None
        return news.is_set()

    async def _do(self, todo: Input) -> None:
        self._doing = todo.kind
        self._todo = todo
        again = self._unfinished == todo.turn
        hook = self._agent.hook(_hook_name(todo))
        outcome = self._verdicts.pop(todo.turn, None)
        if again and outcome is None:
            outcome = verdict(hook, self.claim.deaths, self._settings.turn_max_attempts)
        if outcome is not None or hook is None:
            await self._attempts.refuse(todo.turn, todo.body, outcome or NO_HANDLER, again=again)
            await self._finish(todo, {})
        else:
            turn = self._attempts.turn(todo.turn, todo.body, again=again)
            await self._run_turn(turn, hook, again=again)
            await self._finish(todo, turn.changes)

    async def _run_turn(self, turn: Turn, hook: Hook, *, again: bool) -> None:
        self._turn = turn
        await self._attempts.run(turn, hook, self._answers, again=again)
        if turn.abandoned is not None:
            self._keep(turn.abandoned)

    async def _finish(self, todo: Input, changes: dict[str, bytes | None]) -> None:
        """The last event, the inbox and the state, all in one."""
        self._turn = self._todo = None
        self._doing = ""
        self._unfinished = ""
        batch = Batch(finished=True, done=[todo.index, *self._unused()], state=changes)
        batch.release = not (self._queue or self._ending or self._draining)
        batch.unattended = self._rests
        await self._commit(batch)

    def _unused(self) -> list[int]:
        """Answers to a turn that was not run again: nobody has taken them, and they are to no purpose now."""
        unused, self._answers = [index for index, _ in self._answers], []
        return unused

    async def _commit(self, batch: Batch) -> None:
        """Append, with the controls that have taken effect; go on reading if the store saw more than we did."""
        batch.done += self._controls
        self._controls = []
        batch.release = batch.release and not self._emitter.is_long
        self.released = await self._emitter.append(batch)
        self._state.committed(batch.state)
        if batch.release and not self.released:
            inputs = await self._store.inbox(self.claim.session)
            if any(new.index <= self._seen and not self._has(new.index) for new in inputs):
                # it was done with: a store that lost its tail has given its index to another
                self.fence(Regressed(self.claim.session))
            self._take(inputs)
        elif self.released and self._attempts.resumed:  # a lease that only showed pushes has not resumed the session
            self._familiar.left(self.claim, self._state.local)

    async def _give_away(self) -> None:
        self.released = True
        HANDOVERS.inc()
        await self._emitter.append(Batch(handover=True))

    async def _end(self) -> None:
        """Run `on_chat_end` as a turn of its own, then have the session deleted."""
        hook = self._agent.hooks.get("chat_end")
        if hook is not None:
            again = bool(self._unfinished)
            turn = self._attempts.turn(self._unfinished or f"{LAST}{secrets.token_urlsafe(12)}", b"", again=again)
            await self._run_turn(turn, hook, again=again)
        self.released = True
        self._familiar.forget(self.claim.session)
        await self._emitter.append(Batch(finished=True, end=True))

    def _lost(self, failure: StoreError) -> None:
        LEASES_LOST.labels(type(failure).__name__.lower()).inc()
        log.warning("lease_lost", session=self.claim.session, reason=type(failure).__name__)
        self._stir()
        if self._turn is not None:
            self._turn.forget()


def _hook_name(todo: Input) -> str:
    if todo.kind == "action":
        action = input_from(todo.body)
        assert isinstance(action, ActionInput)  # noqa: S101  # nothing else is kept under this kind
        return f"action:{action.name}"
    return HOOKS.get(todo.kind, todo.kind)
