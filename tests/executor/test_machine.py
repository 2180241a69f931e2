"""A state machine of calls that are submitted, cancelled, that raise and finish, until a shutdown.

Against a model that knows only which calls there are: no result is lost, no slot leaks, nothing hangs.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
import uvloop
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from app.errors import ExecutorBusy
from app.executor import BoundedExecutor

THREADS = 3
QUEUE = 2
HANGS_AFTER = 10.0
"""Seconds after which what should have come will not come."""

pytestmark = pytest.mark.timeout(120)


class Call:
    """A call whose function blocks until it is told how to end."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.entered = threading.Event()
        self.error: Exception | None = None
        self.task: asyncio.Task[str] | None = None
        self._go_on = threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        assert self._go_on.wait(3 * HANGS_AFTER)
        if self.error is not None:
            raise self.error
        return self.name

    def end(self, error: Exception | None = None) -> None:
        self.error = error
        self._go_on.set()


class Calls(RuleBasedStateMachine):
    """`begun` are in a thread, cancelled ones too; `queued` and `waiting` are not. Their order is not this test's."""

    new_loop: Callable[[], asyncio.AbstractEventLoop]
    calls = Bundle[Call]("calls")

    def __init__(self) -> None:
        super().__init__()
        self.loop = type(self).new_loop()
        self.executor = BoundedExecutor(THREADS, QUEUE, 60)
        self.begun: set[Call] = set()
        self.queued: set[Call] = set()
        self.waiting: set[Call] = set()
        self.count = 0
        self.rejected = 0
        self.closed = False

    # ---- what happens

    @rule(target=calls, key=st.sampled_from("ab"), wait=st.sampled_from([None, 3 * HANGS_AFTER]))
    def submit(self, key: str, wait: float | None) -> Call:
        self.count += 1
        call = Call(str(self.count))
        call.task = self.loop.create_task(self.executor.run(call, key=key, wait=wait))
        self.spin()
        full = len(self.begun) == THREADS and len(self.queued) >= QUEUE
        if self.closed or (full and wait is None):
            self.rejected += 1
            self.ended(call, ExecutorBusy)
        elif full:
            self.waiting.add(call)
        else:
            self.queued.add(call)
        self.settle()
        return call

    @rule(call=calls)
    def cancel(self, call: Call) -> None:
        assert call.task is not None
        if call.task.cancel():
            self.ended(call, asyncio.CancelledError)
        self.queued.discard(call)
        self.waiting.discard(call)
        self.settle()

    @rule(call=consumes(calls), fails=st.booleans())
    def end(self, call: Call, fails: bool) -> None:  # noqa: FBT001  # hypothesis draws it
        if call not in self.begun:
            return
        assert call.task is not None
        call.end(LookupError(call.name) if fails else None)
        self.begun.remove(call)
        if not call.task.cancelled():
            self.ended(call, LookupError if fails else None)
        self.settle()

    @precondition(lambda self: self.count > 10)
    @rule()
    def shut_down(self) -> None:
        self.executor.shutdown()
        for call in self.queued | self.waiting:
            self.ended(call, ExecutorBusy)
        self.queued.clear()
        self.waiting.clear()
        self.closed = True

    def teardown(self) -> None:
        while self.begun:
            self.end(next(iter(self.begun)), fails=False)
        assert self.executor.shutdown(HANGS_AFTER)
        self.loop.close()

    # ---- what must hold

    @invariant()
    def the_executor_counts_right(self) -> None:
        abandoned = sum(call.task is not None and call.task.cancelled() for call in self.begun)
        queued = len(self.queued) + len(self.waiting)
        self.until(lambda: self.executor.stats()[1:] == (len(self.begun), queued, abandoned, self.rejected))
        assert self.executor.stats().threads <= THREADS

    def settle(self) -> None:
        """Find out which calls the free threads have taken, and which that waited have come into the queue."""
        free = min(THREADS - len(self.begun), len(self.queued) + len(self.waiting))
        self.until(lambda: len(self.taken()) == free)
        for call in self.taken():
            self.begun.add(call)
            self.queued.discard(call)
            self.waiting.discard(call)
        while self.waiting and len(self.queued) < QUEUE:
            self.queued.add(self.waiting.pop())

    def taken(self) -> set[Call]:
        return {call for call in self.queued | self.waiting if call.entered.is_set()}

    def ended(self, call: Call, error: type[BaseException] | None) -> None:
        """The call's task ends with just this."""
        assert call.task is not None
        self.until(call.task.done)
        if error is None:
            assert call.task.result() == call.name
        else:
            with pytest.raises(error):
                call.task.result()

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = self.loop.time() + HANGS_AFTER
        while not condition():
            assert self.loop.time() < deadline, "it hangs"
            self.spin(0.0005)

    def spin(self, seconds: float = 0) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_no_lost_result_no_leaked_slot_no_hang(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    machine = type("Machine", (Calls,), {"new_loop": staticmethod(new_loop)})
    run_state_machine_as_test(machine, settings=settings(max_examples=60, stateful_step_count=40, deadline=None))
