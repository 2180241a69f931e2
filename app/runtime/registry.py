"""Agents and the handlers they registered; a second registration for the same hook raises."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from app.errors import HandlersError

if TYPE_CHECKING:
    from app.runtime.turn import Turn

PACKAGE = "parley_handlers"
"""The package agents are imported under, so that an agent never shadows a library."""

Policy = Literal["enqueue", "reject", "interrupt"]
"""What happens to a message that comes while a turn runs."""

Call = Callable[["Turn"], Coroutine[Any, Any, None]]
"""Runs one handler in a turn, with what it wants to be called with."""

Function = Callable[[Any], Awaitable[Any]]
"""A function of an agent that is asked for something: it takes one argument and answers."""


@dataclass(frozen=True, slots=True)
class Hook:
    """A registered handler. `timeout` is seconds, None for the server's own; `where` is file and line."""

    name: str
    where: str
    call: Call
    policy: Policy = "enqueue"
    retry: bool = True
    timeout: float | None = None


DEFAULTS: dict[str, Hook] = {}
"""What every agent does with an input for which it has no handler of its own, by the hook's name."""


@dataclass(slots=True)
class Agent:
    """One module under the handlers folder."""

    name: str
    description: str = ""
    hooks: dict[str, Hook] = field(default_factory=dict)

    functions: dict[str, Function] = field(default_factory=dict)

    def hook(self, name: str) -> Hook | None:
        """Its handler for an input, or what every agent does with it."""
        return self.hooks.get(name) or DEFAULTS.get(name)


class Registry:
    """The agents of this process by name, and the hooks of the worker itself.

    `not_offered` are the modules that left themselves out, and why.
    """

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self.not_offered: dict[str, str] = {}
        self.startup: list[Callable[[], Awaitable[None]]] = []
        self.shutdown: list[Callable[[], Awaitable[None]]] = []

    def agent_of(self, function: Callable[..., Any]) -> Agent:
        """The agent a function stands in: the module directly under the handlers folder."""
        parts = function.__module__.split(".")
        name = parts[1] if parts[0] == PACKAGE and len(parts) > 1 else parts[-1]
        return self.agents.setdefault(name, Agent(name))

    def add(self, function: Callable[..., Any], hook: Hook) -> None:
        """Register a handler for the module it stands in. Raises: HandlersError if there is one already."""
        agent = self.agent_of(function)
        other = agent.hooks.get(hook.name)
        if other is not None:
            raise HandlersError(f"{hook.where}: {agent.name} already has a handler for {hook.name}, at {other.where}")
        agent.hooks[hook.name] = hook

    def provide(self, function: Callable[..., Any], name: str, call: Function) -> None:
        """Register what answers for the module `function` stands in. Raises: HandlersError for a second one."""
        agent = self.agent_of(function)
        if name in agent.functions:
            raise HandlersError(f"{where(function)}: {agent.name} already has a function for {name}")
        agent.functions[name] = call


def where(function: Callable[..., Any]) -> str:
    """The file and line a function is defined at."""
    code = inspect.unwrap(function).__code__
    return f"{code.co_filename}:{code.co_firstlineno}"


declared = Registry()
"""What the modules imported so far have registered. `loading.load` fills it; nothing else changes it."""
