"""What a worker remembers of sessions that it has just had is what the store would say of them."""

from __future__ import annotations

import random
from typing import Any

import pytest

from app.protocol.frames import Position
from app.store.base import Accepted, Batch, Claim, LogEntry
from app.store.redis import RedisStore
from tests.store.test_redis import CLIENT, Employed, session_of, store_of
from tests.store.test_redis import message as said
from tests.support.valkey import ValkeyProcess


class Owner:
    """Two workers take turns with a session. `forgetful` ones ask the store each time."""

    def __init__(self, stores: list[RedisStore], session: str, *, forgetful: bool) -> None:
        self.stores = stores
        self.session = session
        self.forgetful = forgetful
        self.claim: Claim
        self.told = 0
        self._n = 0
        self._seq = 0
        self._batches = 0

    async def take(self, which: int) -> dict[str, Any]:
        """Say something at a worker, which then has the lease; what that is told, without what is never the same."""
        store = self.stores[which]
        if self.forgetful:
            store.known.forget(self.session)
        self.told += store.known.get(self.session) is not None
        employed = Employed()
        store.employ(employed)
        self._n += 1
        accepted = await store.accept(self.session, CLIENT, said(self._n, b"words %d" % self._n))
        assert isinstance(accepted, Accepted)
        [claim] = employed.claims
        before = getattr(self, "claim", None)
        self.claim = claim
        same = {"previous": before is None or claim.previous == before.mark}
        ours = before is not None and claim.head.mark == before.mark
        same |= {
            "head": (claim.head.seq, ours),
            "floor": claim.floor.seq,
            "inputs": [(i.index, i.kind, i.body) for i in claim.inputs],
        }
        names = (
            "user",
            "agent",
            "log_bytes",
            "run",
            "deaths",
            "state",
            "asks",
            "steps",
            "left_by",
            "profile",
            "expired",
        )
        return same | {name: getattr(claim, name) for name in names}

    async def leave(self, which: int, batches: list[dict[str, Any]]) -> None:
        """Append these, of which the last gives the lease up."""
        for batch in batches:
            self._batches += 1
            more = dict(batch)
            folds = more.pop("folds", False)
            entries = []
            for _ in range(more.pop("events")):
                entries.append(LogEntry(self._seq + 1, self._seq + 2, self.claim.mark, b"x" * 100))
                self._seq += 2
            whole = Batch(id=f"b{self._batches}", entries=entries, **more)
            expected = self._seq - 2 * len(entries)
            store = self.stores[which]
            await store.append(self.claim, expected, whole)
            if folds and entries and not whole.release:
                await store.compact(self.claim, Position(self._seq, self.claim.mark), b"fold")


def batches_of(rng: random.Random, claim: Claim) -> list[dict[str, Any]]:
    """What a lease appends: the turn's beginning, values that are set and removed, folds, and its end."""
    made: list[dict[str, Any]] = []
    for _ in range(rng.randrange(3)):
        state = {rng.choice("abc"): rng.choice([None, b"jval", b"jother"]) for _ in range(rng.randrange(3))}
        made.append({"events": rng.randrange(3), "state": state, "folds": rng.random() < 0.3})
    last = {"events": rng.randrange(3), "state": {rng.choice("abc"): rng.choice([None, b"jlast"])}, "release": True}
    return [*made, last | {"done": [claim.inputs[0].index], "finished": True}]


@pytest.mark.parametrize("seed", range(20))
async def test_what_is_remembered_is_what_the_store_says(shared_valkey: ValkeyProcess, seed: int) -> None:
    rng = random.Random(seed)
    async with store_of(shared_valkey, f"one{seed}") as one, store_of(shared_valkey, f"two{seed}") as two:
        owners = [Owner([one, two], await session_of(one), forgetful=forgetful) for forgetful in (False, True)]
        for _ in range(12):
            which = rng.choices((0, 1), (4, 1))[0]
            told = [await owner.take(which) for owner in owners]
            assert told[0] == told[1]
            batches = batches_of(rng, owners[0].claim)
            for owner in owners:
                await owner.leave(which, batches)
        assert owners[0].told > 0
        assert owners[1].told == 0
