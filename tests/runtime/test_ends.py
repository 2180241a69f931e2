"""A turn's end is one append: its last event, its leaving the inbox and its state, whatever else is on its way."""

from __future__ import annotations

import orjson
import pytest

from app.store.base import Appended, Batch, Claim
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk, Worker

LINGERING = """
async def keep():
    await cl.user_session.commit()

@cl.on_message
async def main(message):
    await cl.Message("on it").send()
    await cl.context.flush()
    main.tasks = [asyncio.create_task(keep()) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(3600 if message.content == "wait" else 0)
"""
"""Three appends are asked for at the end of the turn: one is on its way, and two wait for it."""


class Appends:
    """Of each append of a worker: the types of its events, and whether it ends a turn."""

    def __init__(self, worker: Worker) -> None:
        self.seen: list[tuple[list[str], bool]] = []
        self._append = worker.store.append
        worker.store.append = self._noted  # type: ignore[method-assign]  # to look at, and to pass on

    async def _noted(self, claim: Claim, expected: int, batch: Batch) -> Appended:
        types = [event["type"] for entry in batch.entries for event in orjson.loads(entry.frame)["events"]]
        self.seen.append((types, batch.finished))
        return await self._append(claim, expected, batch)

    def check(self) -> None:
        ends = [(types, finished) for types, finished in self.seen if {"RUN_FINISHED", "RUN_ERROR"} & {*types}]
        assert ends, self.seen
        assert all(finished for _, finished in ends), ends


@pytest.mark.parametrize("how", ["finished", "cancelled"])
async def test_an_append_that_waits_does_not_take_the_last_event_ahead_of_the_end(worker: Start, how: str) -> None:
    made = await worker(LINGERING)
    appends = Appends(made)
    talk = await Talk.start(made)
    turn = await talk.say("wait" if how == "cancelled" else "go")
    if how == "cancelled":
        await talk.until(lambda: "on it" in talk.text(turn))
        await talk.cancel(turn)
    await talk.done(turn)
    await made.idle()
    appends.check()
