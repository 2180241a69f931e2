"""One handler run on one input: sets the context, calls the handler, ends with exactly one terminal event."""

from __future__ import annotations

import asyncio
import secrets
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from app import logs
from app.errors import OutsideTurn, SessionStateError
from app.executor import drive, executor_key
from app.metrics import TURN_SECONDS, TURNS
from app.protocol import events
from app.protocol.events import Event, RunErrorCode
from app.protocol.fold import Fold
from app.runtime.asking import Asking
from app.runtime.context import current
from app.runtime.durable import DurableSteps
from app.runtime.emitter import Emitter
from app.runtime.registry import Hook
from app.runtime.state import SessionState
from app.store.base import Batch

log = logs.get(__name__)

STOP_GRACE = 5.0
"""Seconds a cancelled handler, and `on_stop` after it, may take before the turn ends without them."""


class Session(NamedTuple):
    """The session a turn belongs to. `profile` is what the user chose of those offered, None if nothing."""

    id: str
    user: str
    agent: str
    profile: str | None = None


class Lease(NamedTuple):
    """What all turns of one lease share. `clock` is the store's time in ms, `timeout` seconds."""

    session: Session
    emitter: Emitter
    state: SessionState
    loop: asyncio.AbstractEventLoop
    clock: Callable[[], int]
    timeout: float
    show_errors: bool


Before = Callable[[], Coroutine[Any, Any, None]]
"""What runs in a turn before its handler."""


class Outcome(NamedTuple):
    """How a turn ended; no code is success."""

    code: RunErrorCode | None = None
    message: str = ""


class Turn:
    """One attempt at one input.

    `id` is the same in every attempt and unlike any other turn's: an idempotency key for calls to the outside,
    together with `attempt` where a repeated call should be told from a first one.
    """

    def __init__(
        self, turn_id: str, attempt: int, body: Any, lease: Lease, asks: Mapping[str, bytes], steps: Mapping[str, bytes]
    ) -> None:
        self.id = turn_id
        self.attempt = attempt
        self.body = body
        self.session = lease.session
        self.state = lease.state
        self._clock = lease.clock
        self._asks = asks
        self._steps = steps
        # most turns ask nothing and have no durable steps
        self._asking: Asking | None = None
        self._durable: DurableSteps | None = None
        self._emitter = lease.emitter
        self._loop = lease.loop
        self._timeout = lease.timeout
        self.show_errors = lease.show_errors
        self._ids = 0
        self._open: dict[str, Event] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping: Outcome | None = None
        self._ended: asyncio.Future[None] = lease.loop.create_future()
        self._over = False
        self.changes: dict[str, bytes | None] = {}
        self.abandoned: asyncio.Task[None] | None = None

    # ---- for what runs in the turn

    @property
    def asking(self) -> Asking:
        """What the turn asks."""
        if self._asking is None:
            self._asking = Asking(self.id, self.attempt, self._emitter, self._asks, self._clock)
            if self._over:
                self._asking.close()
        return self._asking

    @property
    def steps(self) -> DurableSteps:
        """The turn's durable steps."""
        if self._durable is None:
            self._durable = DurableSteps(self._emitter, self._steps)
            if self._over:
                self._durable.close()
        return self._durable

    def new_id(self) -> str:
        """An id for a message or another thing that is shown; never used twice, since a turn's own never is."""
        self._ids += 1
        return f"{self.id}.{self.attempt}.{self._ids}"

    async def emit(self, new: Sequence[Event], *, size: int = 256) -> None:
        """Enqueue events in order; waits only while too much waits for the store. Raises: OutsideTurn at the end."""
        self._must_run()
        if self._emitter.emit(self.id, self.attempt, new, size):
            await self._emitter.room()

    def stream(self, message_id: str, delta: str) -> bool:
        """Enqueue a piece of an open message's text; answers whether `room` is to be awaited. Raises: OutsideTurn."""
        if self._over:
            self._must_run()
        return self._emitter.stream(self.id, self.attempt, message_id, delta)

    async def room(self) -> None:
        """Wait while too much waits for the store."""
        await self._emitter.room()

    def opened(self, thing: str, closing: Event) -> None:
        """Take note of what must be closed before the turn ends, and with which event."""
        self._open[thing] = closing

    def closed(self, thing: str) -> None:
        """Take note that it is closed."""
        self._open.pop(thing, None)

    @property
    def is_over(self) -> bool:
        """Whether the turn has ended; a task that it started may go on."""
        return self._over

    async def history(self) -> Fold:
        """The whole conversation, with all that was emitted so far."""
        if not self._over:
            await self.flush()
        return await self._emitter.history()

    async def flush(self) -> None:
        """Wait until the store has all that was emitted so far."""
        await self._emitter.flush()

    async def commit(self) -> None:
        """Keep the session's values now. Raises: SessionStateError over the limit, OutsideTurn."""
        self._must_run()
        changes = self.state.changes()
        await self._emitter.commit(Batch(state=changes))
        self.state.committed(changes)

    def _must_run(self) -> None:
        if self._over:
            raise OutsideTurn("the turn has ended: nothing can be sent in it any more")

    # ---- for its runner

    def begin(self, first: Sequence[Event]) -> None:
        """Enqueue what begins this attempt: `RUN_STARTED`, and the user's input the first time."""
        self._emitter.start(self.id, self.attempt, first)

    async def run(self, hook: Hook, before: Before | None, on_stop: Hook | None) -> None:
        """Call the handler and enqueue the terminal event. Returns when the turn is over, however it went.

        Raises: Fenced, Regressed if the log is not ours any more; there is no terminal event then.
        """
        if self._stopping is not None or self._over:
            self.finish(self._stopping or Outcome())
            return
        loop = self._loop
        # not by the loop's factory, which looks after the tasks that handlers make
        self._task = asyncio.Task(self._call(hook, before), loop=loop, name=f"turn {self.id}")
        self._emitter.hurry()
        timeout = hook.timeout or self._timeout
        timer = loop.call_later(timeout, self._time_out, timeout)
        began = loop.time()
        try:
            ended = await self._settled(self._task)
        finally:
            timer.cancel()
        TURN_SECONDS.observe(loop.time() - began)
        outcome = self._judge(self._task, hook) if ended else self._abandon(self._task, hook)
        if outcome.code == "cancelled" and on_stop is not None:
            await self._stop_hook(on_stop)
        try:
            self.changes = self.state.changes()
        except SessionStateError as error:
            self.state.rollback()
            outcome = Outcome("handler_error", str(error))
        self.finish(outcome)
        self._task = None  # its context leads here: without this, only a collection of garbage would free the turn

    def cancel(self, outcome: Outcome) -> None:
        """Stop the handler; the turn ends with this outcome unless it has already ended."""
        if self._stopping is not None or (self._task is not None and self._task.done()):
            return
        self._stopping = outcome
        if self._task is None:
            return  # `run` will see it
        self._task.cancel()
        self._loop.call_later(STOP_GRACE, self._give_up)

    def _time_out(self, seconds: float) -> None:
        self.cancel(Outcome("timeout", f"the turn took longer than {seconds:g} s"))

    def finish(self, outcome: Outcome, first: Sequence[Event] = ()) -> None:
        """Have the turn's last append show `first`, close what is open, and end with the terminal event."""
        if not self._over:
            self._emitter.end(self.id, self.attempt, [*first, *self.ending(outcome)])

    def ending(self, outcome: Outcome) -> list[Event]:
        """The turn is over: what closes all that is open in it, and the terminal event."""
        if self._asking is not None:
            self._asking.close()
        self._close_steps()
        self._over = True
        TURNS.inc(outcome.code or "finished")
        if outcome.code:
            last = events.run_error(outcome.message, outcome.code)
        else:
            last = events.run_finished(self.session.id, self.id)
        return [*reversed(self._open.values()), last]

    def forget(self) -> None:
        """End without a terminal event: the turn goes on elsewhere."""
        self._over = True
        self._close_steps()
        if self._task is not None:
            self._task.cancel()

    # ---- inside

    def _close_steps(self) -> None:
        if self._durable is not None:
            self._durable.close()

    async def _call(self, hook: Hook, before: Before | None) -> None:
        current.set(self)
        executor_key.set(self.session.id)
        logs.bind_turn(self.session.id, self.id)
        try:
            if before is not None:
                await drive(before())
            await drive(hook.call(self))
        except (SystemExit, KeyboardInterrupt) as error:  # these would end the loop, and with it the worker
            raise RuntimeError(f"the handler raised {type(error).__name__}") from error
        finally:
            if not self._over and self._stopping is None:
                self._emitter.hold()

    async def _settled(self, task: asyncio.Task[None]) -> bool:
        """Wait for the handler, but after a cancel only so long; answers whether it ended."""
        task.add_done_callback(self._give_up)
        try:
            await self._ended
        except asyncio.CancelledError:
            task.cancel()
            raise
        return task.done()

    def _give_up(self, _: object = None) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    def _judge(self, task: asyncio.Task[None], hook: Hook) -> Outcome:
        if self._emitter.failure is not None:
            raise self._emitter.failure
        error = None if task.cancelled() else task.exception()
        if error is not None:
            failure = self._failure(error, hook)
            return self._stopping or failure
        if self._stopping is not None:
            return self._stopping
        if task.cancelled():
            return Outcome("handler_error", "the handler was cancelled from within")
        return Outcome()

    def _abandon(self, task: asyncio.Task[None], hook: Hook) -> Outcome:
        log.warning("handler_abandoned", turn=self.id, handler=hook.where, reason="it goes on although cancelled")
        self.abandoned = task
        return self._stopping or Outcome("cancelled", "cancelled")

    def _failure(self, error: BaseException, hook: Hook) -> Outcome:
        reference = secrets.token_hex(4)
        log.error(
            "handler_failed",
            session=self.session.id,
            turn=self.id,
            handler=hook.where,
            reference=reference,
            exc_info=(type(error), error, error.__traceback__),
        )
        text = _in_words(error) if self.show_errors else "something went wrong"
        return Outcome("handler_error", f"{text} (reference {reference})")

    async def _stop_hook(self, hook: Hook) -> None:
        task = asyncio.create_task(self._call(hook, None), name=f"on_stop {self.id}")
        done, _ = await asyncio.wait({task}, timeout=STOP_GRACE)
        if not done:
            task.cancel()
            log.warning("on_stop_abandoned", turn=self.id, handler=hook.where)
        elif not task.cancelled() and (error := task.exception()) is not None:
            log.error("on_stop_failed", turn=self.id, reason="".join(traceback.format_exception(error)))


def _in_words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001  # an author's exception may fail to say what it is
        return type(error).__name__
