"""Shared state in AG-UI's sense: a model that the agent changes and clients follow, and may change if they are let."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from app.protocol import events
from app.protocol.diff import diff
from app.protocol.inputs import StateInput
from app.protocol.patch import PatchError, apply_patch
from app.runtime import context
from app.runtime.registry import Hook, declared
from app.runtime.state import SHARED
from app.runtime.turn import Turn

M = TypeVar("M", bound=BaseModel)


class SharedState(Generic[M]):
    """A session's shared state. Outside a turn everything raises OutsideTurn."""

    def __init__(self, model: type[M]) -> None:
        self._model = model

    @property
    def value(self) -> M:
        """The state as it is now, the model's defaults at first. Change it in a `change` block."""
        kept = context.running().state.get(SHARED)
        return self._model() if kept is None else self._model.model_validate(kept)

    @asynccontextmanager
    async def change(self) -> AsyncIterator[M]:
        """Change the state: `async with state.change() as value: value.count += 1`.

        Clients are sent the difference when the block ends well; the session keeps it with the turn.
        Raises: ValidationError, a ValueError, if the changed value is not valid; ValueError if it is too large.
        """
        value = self.value
        yield value
        await self._put(context.running(), self._model.model_validate(value.model_dump()))

    async def set(self, value: M) -> None:
        """Put another value in its place. Raises: ValueError if it is too large."""
        await self._put(context.running(), value)

    async def _put(self, turn: Turn, value: M) -> None:
        after = value.model_dump(mode="json")
        before = turn.state.get(SHARED)
        if before is None:
            shown = events.state_snapshot(after)
        elif operations := diff(before, after):
            events.state_snapshot(after)  # a change may not make it larger than a snapshot can be
            shown = events.state_delta(operations)
        else:
            return
        turn.state[SHARED] = after
        await turn.emit([shown], size=len(str(after)))

    async def patched(self, turn: Turn) -> None:
        """Apply a client's patch; what must not be changes nothing, and the client is shown what is."""
        body = turn.body
        assert isinstance(body, StateInput)  # noqa: S101  # nothing else is kept under this kind
        before = self.value.model_dump(mode="json")
        try:
            after = self._model.model_validate(apply_patch(before, [operation.wire() for operation in body.patch]))
            if turn.state.get(SHARED) is None:
                turn.state[SHARED] = before
            await self._put(turn, after)
        except (PatchError, ValidationError) as error:
            reason = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
            notice = events.toast(f"the change was not accepted: {reason}"[:500], "error")
            await turn.emit([notice, events.state_snapshot(before)])


def state(model: type[M], *, clients_may_change: bool = False) -> SharedState[M]:
    """The agent's shared state; called once in its module. Every field of the model needs a default.

    Raises: TypeError if the model has no defaults; HandlersError for a second state clients may change.
    """
    try:
        model()
    except ValidationError as error:
        raise TypeError(f"{model.__name__}: every field of a shared state needs a default ({error})") from None
    shared = SharedState(model)
    if clients_may_change:
        declared.add(model, Hook("state", model.__module__, shared.patched))
    return shared
