"""Asks the user and waits: the first answer wins, and an answer given between two attempts counts for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.errors import OutsideTurn
from app.protocol import events
from app.protocol.events import Event
from app.protocol.inputs import AnswerInput
from app.runtime.durable import Ask, Asks, Keys, Resolution, resolved
from app.runtime.emitter import Emitter

MOST_OPEN = 16
"""Asks of one turn that may wait at the same time."""


class Asking:
    """What one attempt of a turn asks. `kept` is what an earlier one left, `clock` the store's time in ms."""

    def __init__(
        self, turn_id: str, attempt: int, emitter: Emitter, kept: Mapping[str, bytes], clock: Callable[[], int]
    ) -> None:
        self._turn_id = turn_id
        self._attempt = attempt
        self._emitter = emitter
        self.asks = Asks(kept)
        self._clock = clock
        self._keys = Keys()
        self._waiting = 0
        self._is_over = False

    async def ask(
        self,
        kind: str,
        prompt: str,
        *,
        timeout: float,
        is_valid: Callable[[Any], bool],
        options: Sequence[Any] | None = None,
        schema: Mapping[str, Any] | None = None,
        key: str | None = None,
    ) -> Resolution:
        """Ask, wait for the store to have it, then for its end; `timeout` is seconds, from the first attempt on.

        None ever waits beyond the turn's end, which cancels it. Raises: ValueError if it is too large or too many wait;
        OutsideTurn; CancelledError with the turn; Fenced, Regressed.
        """
        if self._is_over:
            raise OutsideTurn("the turn has ended: nothing can be asked in it any more")
        if self._waiting >= MOST_OPEN:
            raise ValueError(f"{self._waiting} asks of this turn wait for an answer, as many as are allowed")
        key = self._keys.of("key", key) if key else self._keys.of(kind, prompt, options)
        earlier = self.asks.earlier(key)
        if earlier is not None:
            return earlier
        expires = self.asks.deadline(key) or self._clock() + int(timeout * 1000)
        ask = Ask(key, f"{key}.{self._attempt}", kind, expires, is_valid, asyncio.get_running_loop().create_future())
        shown = events.ask(ask.id, kind, prompt, expires_at=expires, options=options, schema=schema)
        self._emit([shown])
        self._emitter.note_ask(key, ask.record())
        return await self._resolved(ask)

    def answer(self, answer: AnswerInput) -> bool:
        """Take a user's answer; answers whether an ask waited for it."""
        ask = self.asks.find(answer.ask)
        if ask is None:
            return False
        if answer.cancelled:
            ask.ended.set_result(Resolution("cancelled"))
        elif ask.is_valid(answer.value):
            ask.ended.set_result(Resolution("answered", answer.value))
        else:
            self._emit([events.toast("that is no answer to what was asked", "error")])
            return True
        self._resolve(ask, ask.ended.result())
        return True

    def close(self) -> None:
        """The turn is ending: what a task of it still asks is cancelled."""
        self._is_over = True
        for ask in self.asks.waiting():
            ask.ended.set_result(Resolution("cancelled"))
            self._emit([events.ask_resolved(ask.id, "cancelled")])

    async def _resolved(self, ask: Ask) -> Resolution:
        self.asks.open(ask)
        self._waiting += 1
        left = max(0, ask.expires - self._clock()) / 1000
        timer = asyncio.get_running_loop().call_later(left, self._expire, ask)
        try:
            await self._emitter.flush()
            return await asyncio.shield(ask.ended)
        finally:
            timer.cancel()
            self._waiting -= 1
            self.asks.close(ask)
            if not ask.ended.done():
                ask.ended.cancel()
                self._emit([events.ask_resolved(ask.id, "cancelled")])

    def _expire(self, ask: Ask) -> None:
        if not ask.ended.done():
            ask.ended.set_result(Resolution("expired"))
            self._resolve(ask, Resolution("expired"))

    def _resolve(self, ask: Ask, resolution: Resolution) -> None:
        """Show it and keep it for a next attempt, in one append."""
        self._emit(resolved(ask.id, ask.kind, resolution))
        self._emitter.note_ask(ask.key, ask.record(resolution))

    def _emit(self, new: Sequence[Event]) -> None:
        self._emitter.emit(self._turn_id, self._attempt, new)
