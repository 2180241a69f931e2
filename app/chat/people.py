"""Small records that authors give and get: users, connections, profiles, starters, feedback."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

MAX_OFFERED = 50
"""Profiles or starters of an agent."""
MAX_TEXT = 16 * 1024
"""Characters of a description, or of a starter's message."""
MAX_SHORT = 256
"""Characters of a name, a label or a command."""
MAX_ICON = 2048
"""Characters of an icon's name or address."""


@dataclass(frozen=True, slots=True)
class User:
    """Who is connected: `identifier` is `anonymous` for everyone who did not sign in."""

    identifier: str
    display_name: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Starter:
    """A first message that a client offers under a label. Raises: ValueError if a member is too long."""

    label: str
    message: str
    command: str | None = None
    icon: str | None = None

    def __post_init__(self) -> None:
        _check("a starter", label=self.label, command=self.command)
        _check("a starter", MAX_TEXT, message=self.message)
        _check("a starter", MAX_ICON, icon=self.icon)

    def wire(self) -> dict[str, Any]:
        """The starter as clients see it."""
        return _given(label=self.label, message=self.message, command=self.command, icon=self.icon)


@dataclass(frozen=True, slots=True)
class ChatProfile:
    """A way of talking to the agent that a user may choose. Raises: ValueError if a member is too long."""

    name: str
    markdown_description: str = ""
    icon: str | None = None
    default: bool = False
    starters: Sequence[Starter] = ()

    def __post_init__(self) -> None:
        _check("a profile", name=self.name)
        _check("a profile", MAX_TEXT, markdown_description=self.markdown_description)
        _check("a profile", MAX_ICON, icon=self.icon)

    def wire(self) -> dict[str, Any]:
        """The profile as clients see it."""
        starters = [starter.wire() for starter in self.starters]
        return _given(
            name=self.name,
            description=self.markdown_description,
            icon=self.icon,
            default=self.default,
            starters=starters,
        )


@dataclass(frozen=True, slots=True)
class Connection:
    """One connection of a client: `id` is its own, `client` is the tab's or program's, the same when it comes back."""

    id: str
    client: str


@dataclass(frozen=True, slots=True)
class Feedback:
    """What a user thinks of a message: `value` is the client's, 1 and 0 for thumbs up and down."""

    for_id: str
    value: float | str
    comment: str | None = None


def _check(what: str, most: int = MAX_SHORT, **members: str | None) -> None:
    for name, text in members.items():
        if text is not None and len(text) > most:
            raise ValueError(f"{what}: {name} has {len(text)} characters, at most {most}")


def _given(**members: Any) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}
