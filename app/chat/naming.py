"""The names that things are shown under, as the agent's `author_rename` has them."""

from __future__ import annotations

from app.runtime.registry import declared
from app.runtime.turn import Turn


async def shown_name(turn: Turn, name: str) -> str:
    """What `name` is shown as in this turn. Raises: TypeError if the agent makes no string of it."""
    agent = declared.agents.get(turn.session.agent)
    rename = agent.functions.get("author_rename") if agent else None
    if rename is None:
        return name
    renamed = await rename(name)
    if not isinstance(renamed, str):
        raise TypeError(f"author_rename made a {type(renamed).__name__} of {name!r}, not a string")
    return renamed
