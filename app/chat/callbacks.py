"""The decorators that make a function a handler of the agent it stands in."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, get_args, overload

from app.chat.action import Action
from app.chat.chat_settings import accept
from app.chat.message import Message
from app.chat.people import MAX_OFFERED, ChatProfile, Connection, Feedback, Starter, User
from app.errors import HandlersError
from app.executor import make_async
from app.protocol.inputs import ActionInput, FeedbackInput
from app.protocol.presence import Connected, Disconnected
from app.runtime.registry import DEFAULTS, Call, Hook, Policy, declared, where
from app.runtime.turn import Turn

F = TypeVar("F", bound=Callable[..., Any])

Arguments = Callable[[Turn], tuple[Any, ...]]
"""What a handler is called with in a turn."""


@overload
def on_message(function: F) -> F: ...
@overload
def on_message(*, policy: Policy = "enqueue", retry: bool = True, timeout: float | None = None) -> Callable[[F], F]: ...
def on_message(
    function: F | None = None, *, policy: Policy = "enqueue", retry: bool = True, timeout: float | None = None
) -> F | Callable[[F], F]:
    """Call the function with each message of a user, as `(Message)` or `()`.

    `policy` says what happens to a message that comes while a turn runs: it waits, is rejected, or interrupts.
    `retry` is whether a turn whose worker died is run again. `timeout` is seconds, by default the server's.
    Raises: HandlersError for a second handler, or for arguments that are none of these.
    """

    def register(handler: F) -> F:
        at = where(handler)
        if policy not in get_args(Policy):
            raise HandlersError(f"{at}: policy is {policy!r}, not one of {', '.join(get_args(Policy))}")
        if timeout is not None and not timeout > 0:
            raise HandlersError(f"{at}: timeout is {timeout!r}, not a number of seconds above 0")
        call = _call(handler, _incoming, most=1)
        declared.add(handler, Hook("message", at, call, policy, retry, timeout))
        return handler

    return register if function is None else register(function)


def on_chat_start(function: F) -> F:
    """Call the function `()` once in a session's life, before its first message."""
    return _register("chat_start", function, _nothing, most=0)


def on_chat_resume(function: F) -> F:
    """Call the function `(thread)` when a worker takes up a session with a history, before its next turn.

    `thread` is a dict of `id`, `agent`, `user`, `messages` (as AG-UI messages, the last 200) and `state`.
    """
    return _register("chat_resume", function, _thread, most=1)


def on_chat_end(function: F) -> F:
    """Call the function `()` when the session ends: by the user or by expiry, not at a dropped socket."""
    return _register("chat_end", function, _nothing, most=0)


def on_connect(function: F) -> F:
    """Call the function `(Connection)` or `()` when a client is attached to the session, as a turn of its own.

    It comes after `on_chat_start`, and before what the client sends; also when a client that was lost comes back.
    """
    return _register("connect", function, _connection, most=1)


def on_disconnect(function: F) -> F:
    """Call the function `(Connection)` or `()` when a client has gone, as a turn of its own.

    Not if the session has ended, nor if the client's own worker was killed: do not count connections by it.
    """
    return _register("disconnect", function, _connection, most=1)


def on_stop(function: F) -> F:
    """Call the function `()` in a turn that was cancelled, before it ends; for at most 5 s."""
    return _register("stop", function, _nothing, most=0)


def action_callback(name: str) -> Callable[[F], F]:
    """Call the function `(Action)` or `()` when a button of this name is pressed, as a turn of its own.

    The action's `payload` is what the client sent, and `for_id` the message the button stands under.
    """

    def register(function: F) -> F:
        return _register(f"action:{name}", function, _pressed, most=1)

    return register


def on_settings_update(function: F) -> F:
    """Call the function `(values)` or `()` when the user has sent the settings form, as a turn of its own.

    `values` are those of all fields, checked against the form that was sent last. What does not fit is refused
    with a toast that names the field, and the function is not called.
    """
    takes, awaitable = _count(function, 1), _awaitable(function)

    async def call(turn: Turn) -> None:
        values = await accept(turn)
        if values is not None:
            await awaitable(*(values,)[:takes])

    declared.add(function, Hook("settings", where(function), call))
    return function


def on_feedback(function: F) -> F:
    """Call the function `(Feedback)` when the user has judged a message, as a turn of its own."""
    return _register("feedback", function, _judged, most=1)


def set_chat_profiles(function: F) -> F:
    """Ask the function `(user)` or `()` which profiles a user may choose: it returns a list of ChatProfile."""
    return _offer("profiles", function, ChatProfile)


def set_starters(function: F) -> F:
    """Ask the function `(user)` or `()` what a user may begin with: it returns a list of Starter."""
    return _offer("starters", function, Starter)


def author_rename(function: F) -> F:
    """Ask the function `(name)` under which name to show an author, a step or a tool: it returns a string.

    It is asked about every name once for each message and step, so it should be quick.
    """
    _count(function, 1)
    declared.provide(function, "author_rename", _awaitable(function))
    return function


def on_app_startup(function: F) -> F:
    """Call the function `()` once in each worker before it serves."""
    declared.startup.append(_worker_hook(function))
    return function


def on_app_shutdown(function: F) -> F:
    """Call the function `()` once in each worker after it has served."""
    declared.shutdown.append(_worker_hook(function))
    return function


def _register(name: str, function: F, arguments: Arguments, *, most: int) -> F:
    declared.add(function, Hook(name, where(function), _call(function, arguments, most=most)))
    return function


def _offer(name: str, function: F, kind: type[ChatProfile | Starter]) -> F:
    """Register what a user is offered: asked with the user's id, it answers with JSON."""
    takes, awaitable = _count(function, 1), _awaitable(function)

    async def call(user: str) -> list[dict[str, Any]]:
        offered = list(await awaitable(*(User(user),)[:takes]) or ())
        if len(offered) > MAX_OFFERED or not all(isinstance(each, kind) for each in offered):
            raise TypeError(f"{where(function)}: it is to return at most {MAX_OFFERED} of {kind.__name__}")
        return [each.wire() for each in offered]

    declared.provide(function, name, call)
    return function


def _pressed(turn: Turn) -> tuple[Any, ...]:
    body = turn.body
    assert isinstance(body, ActionInput)  # noqa: S101  # nothing else is kept under this kind
    return (Action.pressed(body),)


def _connection(turn: Turn) -> tuple[Any, ...]:
    body = turn.body
    assert isinstance(body, Connected | Disconnected)  # noqa: S101  # nothing else is kept under these kinds
    return (Connection(body.id, body.client),)


def _judged(turn: Turn) -> tuple[Any, ...]:
    body = turn.body
    assert isinstance(body, FeedbackInput)  # noqa: S101  # nothing else is kept under this kind
    return (Feedback(body.for_, body.value, body.comment),)


def _nothing(_turn: Turn) -> tuple[Any, ...]:
    return ()


def _incoming(turn: Turn) -> tuple[Any, ...]:
    return (Message.incoming(turn.body),)


def _thread(turn: Turn) -> tuple[Any, ...]:
    return (turn.body,)


def _call(function: Callable[..., Any], arguments: Arguments, *, most: int) -> Call:
    """What runs the handler in a turn: on the loop if it is async, in the executor if it is not."""
    takes = _count(function, most)
    awaitable = _awaitable(function)

    async def call(turn: Turn) -> None:
        await awaitable(*arguments(turn)[:takes])

    return call


def _worker_hook(function: Callable[..., Any]) -> Callable[[], Awaitable[None]]:
    _count(function, 0)
    awaitable = _awaitable(function)

    async def call() -> None:
        await awaitable()

    return call


def _awaitable(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    return function if inspect.iscoroutinefunction(function) else make_async(function)


def _count(function: Callable[..., Any], most: int) -> int:
    """How many of at most `most` arguments the handler takes. Raises: HandlersError if it wants more."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = inspect.signature(function).parameters.values()
    positional = [p for p in parameters if p.kind in kinds]
    needed = [p for p in parameters if p.default is p.empty and p.kind in (*kinds, inspect.Parameter.KEYWORD_ONLY)]
    if any(p.kind is inspect.Parameter.VAR_POSITIONAL for p in parameters):
        return most
    if len(needed) > most:
        takes = "no argument" if most == 0 else f"at most {most} argument"
        raise HandlersError(f"{where(function)}: {function.__name__} is called with {takes}, it wants {len(needed)}")
    return min(len(positional), most)


async def _pass_by(_turn: Turn) -> None:
    """What an agent does that has no such hook: while workers are replaced, another one may have heard for it."""


for kind in ("connect", "disconnect"):
    DEFAULTS[kind] = Hook(kind, __name__, _pass_by)
