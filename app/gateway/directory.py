"""What the gateway has to know of the agents; whoever joins the parts hands it over."""

from __future__ import annotations

from typing import Any, Literal, Protocol


class Directory(Protocol):
    """The agents of this server."""

    @property
    def default(self) -> str | None:
        """The agent of a session whose `hello` names none; None if there is no agent at all."""

    def has(self, agent: str) -> bool:
        """Whether there is an agent of this name."""

    def starts(self, agent: str) -> bool:
        """Whether the agent has something to run at the start of a session."""

    def hears(self, agent: str, hook: Literal["connect", "disconnect"]) -> bool:
        """Whether the agent has something to run when a connection comes, or goes."""

    def describe(self) -> list[dict[str, str]]:
        """`name` and `description` of each agent, by name."""

    async def profiles(self, agent: str, user: str) -> list[dict[str, Any]]:
        """What this user may choose from at the agent: `name`, `description`, `default`, `starters`, and an `icon`."""

    async def starters(self, agent: str, user: str) -> list[dict[str, Any]]:
        """What this user may begin with: `label`, `message`, and perhaps `command` and `icon`."""
