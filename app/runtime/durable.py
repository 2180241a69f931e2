"""What a turn has asked and which durable steps it has finished, so that its next attempt finds both again.

Each is known by a key: the author's own, or a digest of its name and arguments and its place among equals.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from app.errors import OutsideTurn
from app.protocol import events
from app.protocol.events import AskStatus, Event
from app.protocol.inputs import AnswerInput
from app.runtime.emitter import Emitter

TEXT = "text"
"""The kind of ask that is answered in words."""


class Keys:
    """Gives the same keys to the same things in every attempt, as long as they come in the same order."""

    def __init__(self) -> None:
        self._seen: defaultdict[str, int] = defaultdict(int)

    def of(self, *named: Any) -> str:
        """The key of one more thing with these names and arguments. Raises: TypeError if they are not JSON."""
        data = orjson.dumps(named, option=orjson.OPT_SORT_KEYS)
        digest = blake2b(data, digest_size=9).hexdigest()
        self._seen[digest] += 1
        return f"{digest}.{self._seen[digest]}"

    def free(self, key: str) -> None:
        """Give a key to the next equal thing, if this is the last that was given: it came to nothing."""
        digest, _, place = key.rpartition(".")
        if self._seen[digest] == int(place):
            self._seen[digest] -= 1


@dataclass(frozen=True, slots=True)
class Resolution:
    """How an ask ended. `value` counts if it was answered."""

    status: AskStatus
    value: Any = None


def resolved(ask_id: str, kind: str, resolution: Resolution) -> list[Event]:
    """What shows that an ask has ended; an answer in words is also something the user said."""
    shown = [events.ask_resolved(ask_id, resolution.status, resolution.value)]
    if kind == TEXT and resolution.status == "answered":
        shown += events.text_message(f"{ask_id}.answer", resolution.value, "user")
    return shown


@dataclass(slots=True)
class Ask:
    """One ask. `id` is what clients know it by in this attempt, `expires` is in ms of the store's time."""

    key: str
    id: str
    kind: str
    expires: int
    is_valid: Callable[[Any], bool]
    ended: asyncio.Future[Resolution]

    def record(self, resolution: Resolution | None = None) -> bytes:
        """What the store keeps of it."""
        kept: dict[str, Any] = {"id": self.id, "kind": self.kind, "expires": self.expires}
        if resolution is not None:
            kept |= {"status": resolution.status, "value": resolution.value}
        return orjson.dumps(kept)


class Asks:
    """The asks of one turn. `kept` is what an earlier attempt left, by key."""

    def __init__(self, kept: Mapping[str, bytes]) -> None:
        self._kept: dict[str, dict[str, Any]] = {key: orjson.loads(record) for key, record in kept.items()}
        self._open: dict[str, Ask] = {}

    def earlier(self, key: str) -> Resolution | None:
        """How this ask ended in an earlier attempt, if it did."""
        record = self._kept.get(key, {})
        return Resolution(record["status"], record["value"]) if "status" in record else None

    def deadline(self, key: str) -> int | None:
        """When this ask was to end in an earlier attempt; it keeps its deadline."""
        expires: int | None = self._kept.get(key, {}).get("expires")
        return expires

    def open(self, ask: Ask) -> None:
        """Take note of an ask that waits."""
        self._open[ask.id] = ask

    def close(self, ask: Ask) -> None:
        """It waits no more."""
        self._open.pop(ask.id, None)

    def waiting(self) -> list[Ask]:
        """Those that wait."""
        return [ask for ask in self._open.values() if not ask.ended.done()]

    def find(self, ask_id: str) -> Ask | None:
        """The open ask of this id."""
        ask = self._open.get(ask_id)
        return None if ask is None or ask.ended.done() else ask

    def answered_between(self, answer: AnswerInput) -> tuple[str, bytes, list[Event]] | None:
        """Take an answer to an ask of an attempt that is over: key and record to keep, and what shows it.

        None if no such ask waits.
        """
        for key, record in self._kept.items():
            if record["id"] == answer.ask and "status" not in record:
                resolution = Resolution("cancelled" if answer.cancelled else "answered", answer.value)
                record |= {"status": resolution.status, "value": resolution.value}
                return key, orjson.dumps(record), resolved(answer.ask, record["kind"], resolution)
        return None


MOST_STEPS = 1_000
"""Durable steps of a turn, in all its attempts."""

STEPS_BYTES = 16 * 1024 * 1024
"""JSON bytes of the results of a turn's durable steps, past which no further one is begun: a worker that takes the
session over reads all of them at once."""


class DurableSteps:
    """The durable steps of one attempt. `kept` is what earlier attempts finished, by key."""

    def __init__(self, emitter: Emitter, kept: Mapping[str, bytes]) -> None:
        self._emitter = emitter
        self._kept = kept
        self._keys = Keys()
        self._begun = set(kept)
        self._bytes = sum(map(len, kept.values()))
        self._is_over = False

    def key(self, name: str, arguments: Any, key: str | None = None) -> str:
        """The key of one more step. Raises: TypeError if its arguments are not JSON and there is no `key`."""
        return self._keys.of("key", key) if key else self._keys.of(name, arguments)

    def finished(self, key: str) -> tuple[Any] | None:
        """The result of a step that an earlier attempt finished, alone in a tuple; None if none did."""
        kept = self._kept.get(key)
        return None if kept is None else (orjson.loads(kept),)

    def begin(self, key: str) -> None:
        """A step that no attempt has finished is about to be done. Raises: ValueError if the turn has its fill."""
        full = ""
        if len(self._begun) >= MOST_STEPS:
            full = f"a turn has at most {MOST_STEPS} durable steps: do several things in one step"
        elif self._bytes >= STEPS_BYTES:
            words = f"the results of this turn's durable steps have {self._bytes} bytes, at most {STEPS_BYTES}"
            full = f"{words}: keep them elsewhere and return where"
        if full:
            self._keys.free(key)
            raise ValueError(full)
        self._begun.add(key)

    def failed(self, key: str) -> None:
        """A step did not finish: a retry in this attempt is the same step, and has its key."""
        self._begun.discard(key)
        self._keys.free(key)

    async def finish(self, key: str, result: Any) -> None:
        """Keep a step's result, and wait until the store has it.

        Raises: TypeError if it is not JSON; OutsideTurn if the turn has ended: what is kept then would be the next
        turn's.
        """
        if self._is_over:
            raise OutsideTurn("the turn has ended: the result of a durable step can no longer be kept")
        encoded = orjson.dumps(result)
        self._bytes += len(encoded)
        self._emitter.note_step(key, encoded)
        await self._emitter.flush()

    def close(self) -> None:
        """The turn has ended: keep nothing more."""
        self._is_over = True
