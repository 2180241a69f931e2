"""Owns every runner of this worker: takes leases, renews them, takes dead workers' sessions over, drains."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from app import logs
from app.errors import Fenced, Regressed, StoreError
from app.metrics import SESSIONS_RUNNING, TAKEOVERS
from app.runtime import outside
from app.runtime.background import Background, end
from app.runtime.familiar import Familiar
from app.runtime.lookout import SILENT_FOR, Lookout
from app.runtime.registry import Registry
from app.runtime.runner import Runner
from app.settings import Settings
from app.store.base import Claim, Leases
from app.store.keys import PARTITIONS, partition

log = logs.get(__name__)

RENEW_EVERY = 0.5
"""Seconds between renewals; their cost grows with the partitions held, at most 128."""

SCAN_EVERY = 0.25
"""Seconds between looks at a quarter of the partitions."""

STORE_AWAY = 1.0
"""Seconds a look at the store may take; past it, the store was away, and nobody could renew."""

SETTLE = 2.0
"""Seconds that all workers then have to connect anew and renew, before any is taken for dead."""

TAKE_OVER_AT_ONCE = 32
"""Partitions of a dead worker that are gone through at the same time."""

CRASH_PAUSE = 1.0
"""Seconds before a session is taken up again whose runner failed of itself."""

HAND_OVER_WITHIN = 2.0
"""Seconds in which a draining worker gives its sessions away; past it their lease runs out."""


class Supervisor:
    """Runs the sessions whose leases this worker holds."""

    def __init__(self, store: Leases, registry: Registry, settings: Settings, worker: str) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._worker = worker
        self._lookout = Lookout(store, worker, settings.lease_ttl)
        self._familiar = Familiar()
        self._background = Background()
        self._runners: dict[str, Runner] = {}
        self._held: Counter[int] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self._draining = False
        self._settling = False
        self._loop: asyncio.AbstractEventLoop
        SESSIONS_RUNNING.set_function(lambda: len(self._runners))

    # ---- life

    def start(self) -> None:
        """Take leases from now on, and look for sessions that nobody runs."""
        self._loop = asyncio.get_running_loop()
        self._background.start()
        outside.serve(self._store)
        self._store.employ(self)
        self._loops = [
            asyncio.create_task(self._renew(), name="renew"),
            asyncio.create_task(self._scan(), name="scan"),
            asyncio.create_task(self._store.repair(), name="repair"),
        ]

    async def drain(self, timeout: float) -> None:
        """Take no more sessions, let turns end for `timeout` seconds, hand over the rest."""
        self._draining = True
        self._store.dismiss()
        for runner in self._runners.values():
            runner.drain()
        deadline = self._loop.time() + timeout
        while self._runners and (left := deadline - self._loop.time()) > 0:
            await asyncio.wait(self._tasks, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        await self._hand_over()
        await self._background.stop()

    async def _hand_over(self) -> None:
        try:
            async with asyncio.timeout(HAND_OVER_WITHIN):
                await asyncio.gather(*(r.hand_over() for r in self._runners.values()), return_exceptions=True)
        except TimeoutError:
            log.warning("sessions_not_handed_over", sessions=len(self._runners))

    async def stop(self) -> None:
        """End every task of this worker's."""
        self._store.dismiss()
        outside.serve(None)
        await self._background.stop()
        tasks = [*self._loops, *self._tasks]
        await end(tasks)

    @property
    def running(self) -> int:
        """Sessions run here at the moment."""
        return len(self._runners)

    def runs(self, session: str) -> bool:
        """Whether a session is run here at the moment."""
        return session in self._runners

    # ---- what others tell

    def bury(self, worker: str) -> None:
        """Take over what a worker ran whose process is known to have ended."""
        if not self._draining:
            self._spawn(self._take_over(worker), f"take over {worker}")

    def claimed(self, claim: Claim) -> None:
        """Run a session whose lease is this worker's now."""
        if claim.left_by not in {"", self._worker}:
            TAKEOVERS.inc()
            log.info("session_taken_over", session=claim.session, dead=claim.left_by, unfinished=claim.run)
        earlier = self._runners.get(claim.session)
        if earlier is not None:
            earlier.fence(Fenced(claim.session))
        agent = self._registry.agents.get(claim.agent)
        if agent is None:
            log.error("agent_missing", session=claim.session, agent=claim.agent)
            self._spawn(self._store.postpone(claim, self._settings.lease_ttl), f"postpone {claim.session}")
            return
        runner = Runner(self._store, claim, agent, self._settings, self._familiar, self._keep, loop=self._loop)
        if self._draining:  # it was on its way to us
            runner.drain()
        self._runners[claim.session] = runner
        self._held[partition(claim.session)] += 1
        self._spawn(self._run(runner), f"session {claim.session}")

    def wake(self, session: str) -> None:
        """Have a session's runner look at its inbox."""
        runner = self._runners.get(session)
        if runner is not None and not runner.released:
            runner.wake()
        elif not self._draining:
            # the store says it is ours and nobody runs it: a reply was lost on the way
            self._spawn(self._take_again(session), f"take {session}")

    def look(self) -> None:
        """Have every runner look at its inbox, and stop those whose lease is another's or whose log lost its tail.

        One that waits for an answer would notice none of that by itself.
        """
        self._wake_all(self._runners)
        for runner in self._runners.values():
            self._spawn(self._check(runner), f"check {runner.claim.session}")

    # ---- inside

    async def _check(self, runner: Runner) -> None:
        written = runner.written
        standing = await self._store.standing(runner.claim)
        if runner.released:
            return
        if standing is None:
            runner.fence(Fenced(runner.claim.session))
        elif standing < written:
            runner.fence(Regressed(runner.claim.session))

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        # not by the loop's factory: it looks after the tasks that handlers make, and a push may be one's doing
        self._keep(asyncio.Task(work, loop=self._loop, name=name))

    def _wake_all(self, sessions: Iterable[str]) -> None:
        for runner in [self._runners[session] for session in sessions]:
            if not runner.released:
                runner.wake()

    def _keep(self, task: asyncio.Task[None]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("task_failed", task=task.get_name(), reason=repr(error))

    async def _run(self, runner: Runner) -> None:
        session = runner.claim.session
        again = False
        try:
            await runner.run()
        except Regressed:
            again = True
        except Fenced:
            pass
        except Exception:
            log.exception("runner_failed", session=session)
            await asyncio.sleep(CRASH_PAUSE)
            again = True
        finally:
            self._held[partition(session)] -= 1
            last = self._runners.get(session) is runner
            if last:
                del self._runners[session]
        if again and last:
            await self._take_again(session)

    async def _take_again(self, session: str) -> None:
        """Take up a session that is ours and that nobody runs any more, however long the store cannot."""
        while not self._draining and session not in self._runners:
            try:
                await self._take(session)
            except StoreError as error:
                log.warning("session_not_taken", session=session, reason=str(error))
                await asyncio.sleep(CRASH_PAUSE)
            else:
                return

    async def _take(self, session: str, dead: str = "", *, due: bool = False) -> bool:
        claim = await self._store.claim(session, dead, due=due, runs=self.runs)
        if claim is None:
            return False
        log.debug("session_taken", session=session, unfinished=claim.run, deaths=claim.deaths)
        self.claimed(claim)
        return True

    async def _renew(self) -> None:
        before = self._loop.time()
        while True:
            began = self._loop.time()
            try:
                await self._store.renew([p for p, sessions in self._held.items() if sessions > 0])
            except StoreError as error:
                log.warning("renewal_failed", reason=str(error))
            except Exception:  # whatever it is, the next renewal is still to be made
                log.exception("renewal_failed")
            else:
                if self._loop.time() - before > SILENT_FOR:  # it may have been taken for dead meanwhile
                    self.look()
                before = began
            await asyncio.sleep(RENEW_EVERY)

    async def _scan(self) -> None:
        quarter = 0
        while True:
            try:
                await self._look(range(quarter, PARTITIONS, 4))
            except StoreError as error:
                log.warning("scan_failed", reason=str(error))
            except Exception:  # whatever it is, the next look is still to be taken
                log.exception("scan_failed")
            quarter = (quarter + 1) % 4
            await asyncio.sleep(SCAN_EVERY)

    async def _look(self, partitions: range) -> None:
        """Take up what is due, and what workers had that are seen to be dead."""
        if self._draining:
            return
        began = asyncio.get_running_loop().time()
        scans = await asyncio.gather(*(self._store.scan(number, ()) for number in partitions))
        for number, scan in zip(partitions, scans, strict=True):
            self._lookout.note(number, scan)
        dead = await self._lookout.dead()
        was_away = asyncio.get_running_loop().time() - began > STORE_AWAY
        self._settling = was_away and not self._settling  # a worker that is always so slow goes on all the same
        if self._settling:
            log.warning("store_was_away", reason="nobody is taken for dead until all had time to renew")
            await asyncio.sleep(SETTLE)
            return
        found = [session for scan in scans for session in scan.sessions]
        self._wake_all(self._runners.keys() & found)  # long at it, and a word of something new may have been lost
        await self._take_all(found)
        for worker in dead:
            await self._take_over(worker)

    async def _take_over(self, worker: str) -> None:
        """Take up what a dead worker ran. The others do so too, each in an order of its own, and share it."""
        order = random.sample(range(PARTITIONS), PARTITIONS)
        taken = 0
        for first in range(0, PARTITIONS, TAKE_OVER_AT_ONCE):
            part = order[first : first + TAKE_OVER_AT_ONCE]
            taken += sum(await asyncio.gather(*(self._take_over_in(number, worker) for number in part)))
        self._lookout.forget(worker)
        if taken:
            log.warning("worker_taken_over", dead=worker, sessions=taken)

    async def _take_over_in(self, number: int, worker: str) -> int:
        """Take up a dead worker's sessions in one partition, as long as there are any to be had; how many were."""
        last, taken = -1, 0
        while taken > last:
            last = taken
            taken += await self._take_all((await self._store.scan(number, [worker])).sessions, worker)
        return taken

    async def _take_all(self, sessions: Sequence[str], dead: str = "") -> int:
        """Take up those that are to be had; how many were."""
        idle = [session for session in sessions if session not in self._runners]
        answers = await asyncio.gather(*(self._take(s, dead, due=True) for s in idle), return_exceptions=True)
        for session, answer in zip(idle, answers, strict=True):
            if isinstance(answer, BaseException):
                log.warning("session_not_taken", session=session, reason=str(answer))
        return answers.count(True)
