"""The session's own values, and what else a handler may ask about where it runs."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

from app.chat.step import Step, current_step
from app.runtime import context as current
from app.runtime.turn import Session, Turn


class UserSession(MutableMapping[str, Any]):
    """The values of the current turn's session: JSON values and pydantic models, committed with the turn.

    A value that is changed in place is committed too. A value that JSON cannot hold stays on this worker; after
    another worker took the session over, reading it raises SessionStateError. Outside a turn, and in a task that
    outlived its turn: OutsideTurn.
    """

    def __getitem__(self, name: str) -> Any:
        return current.running().state[name]

    def __setitem__(self, name: str, value: Any) -> None:
        current.running().state[name] = value

    def __delitem__(self, name: str) -> None:
        del current.running().state[name]

    def __iter__(self) -> Iterator[str]:
        return iter(current.running().state)

    def __len__(self) -> int:
        return len(current.running().state)

    def __contains__(self, name: object) -> bool:
        return name in current.running().state

    def set(self, name: str, value: Any) -> None:
        """The same as `user_session[name] = value`."""
        self[name] = value

    async def commit(self) -> None:
        """Keep the values now and not only with the turn: its next attempt will find them. Waits for the store."""
        await current.running().commit()


class Context:
    """Where the code runs. Every attribute raises OutsideTurn outside a turn."""

    @property
    def turn(self) -> Turn:
        """The turn; its `id` and `attempt` make an idempotency key for calls to the outside."""
        return current.turn()

    @property
    def session(self) -> Session:
        """The session: `id`, `user` and `agent`."""
        return current.turn().session

    @property
    def user(self) -> str:
        """The session's user; `anonymous` for everyone who did not sign in."""
        return current.turn().session.user

    @property
    def current_step(self) -> Step | None:
        """The innermost step that this code runs in, if it runs in one."""
        current.turn()
        return current_step()

    async def flush(self) -> None:
        """Wait until the store has all that was sent so far."""
        await current.turn().flush()


user_session = UserSession()
context = Context()
