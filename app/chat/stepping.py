"""The decorator that makes each call of a function a step."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, overload

from app.chat.shown import text_of
from app.chat.step import Step
from app.errors import HandlersError
from app.executor import run_sync
from app.runtime.registry import where

F = TypeVar("F", bound=Callable[..., Any])

Key = str | Callable[..., str] | None
"""What a durable step is known by: a name, or what is made of its arguments."""


@overload
def step(function: F) -> F: ...
@overload
def step(
    *,
    name: str | None = None,
    type: str = "undefined",
    show_input: bool | str = True,
    durable: bool = False,
    key: Key = None,
) -> Callable[[F], F]: ...
def step(
    function: F | None = None,
    *,
    name: str | None = None,
    type: str = "undefined",  # noqa: A002  # the name authors know
    show_input: bool | str = True,
    durable: bool = False,
    key: Key = None,
) -> F | Callable[[F], F]:
    """Make each call of a function a Step: its arguments are the input, what it returns the output.

    Functions, async functions, generators and async generators stay what they are. What a generator yields is
    streamed to the output, strings as they are and all else as lines of JSON.

    With `durable` the result, JSON of at most 256 KiB, is kept before the call returns; in a next attempt of the
    turn the call returns what was kept, without running the function. It is known by its name, its arguments
    (which must be JSON, and of which a method's `self` is none) and its place among equal calls; or by `key`
    instead of the arguments: a string, or a function of the same arguments that makes one. What comes back is
    what JSON makes of the result, in the first attempt too: a tuple comes back as a list.
    Raises: HandlersError for a durable generator, or a `key` without `durable`. Calls raise OutsideTurn; TypeError
    if durable arguments or results are not JSON; ValueError if a result is too large.
    """

    def decorate(decorated: F) -> F:
        plan = _Plan(decorated, name or decorated.__name__, type, bool(show_input), durable, key)
        wrapped: F = plan.wrapped()
        return wrapped

    return decorate if function is None else decorate(function)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A decorated function, and what its steps are made with."""

    function: Callable[..., Any]
    name: str
    type: str
    show_input: bool
    durable: bool
    key: Key

    def wrapped(self) -> Any:
        function = self.function
        generates = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        if generates and self.durable:
            raise HandlersError(f"{where(function)}: a generator cannot be a durable step: return all of it as a list")
        if self.key is not None and not self.durable:
            raise HandlersError(f"{where(function)}: a key is for a durable step: add durable=True")
        if inspect.isasyncgenfunction(function):
            return self._async_generator()
        if inspect.isgeneratorfunction(function):
            return self._generator()
        return self._async() if inspect.iscoroutinefunction(function) else self._sync()

    def step(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Step:
        """The step of one call. Raises: TypeError if the function does not take these arguments."""
        arguments = dict(inspect.signature(self.function).bind(*args, **kwargs).arguments)
        if next(iter(arguments), "") in {"self", "cls"}:
            del arguments[next(iter(arguments))]
        key = self.key(*args, **kwargs) if callable(self.key) else self.key
        return Step(self.name, self.type, input=arguments, show_input=self.show_input, durable=self.durable, key=key)

    def _async(self) -> Callable[..., Any]:
        function = self.function

        @wraps(function)
        async def call(*args: Any, **kwargs: Any) -> Any:
            async with self.step(args, kwargs) as shown:
                result = shown.output if shown.is_kept else await function(*args, **kwargs)
                self.show(shown, result)
            return shown.output if self.durable else result

        return call

    def _sync(self) -> Callable[..., Any]:
        function = self.function

        @wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with self.step(args, kwargs) as shown:
                result = shown.output if shown.is_kept else function(*args, **kwargs)
                self.show(shown, result)
            return shown.output if self.durable else result

        return call

    def show(self, shown: Step, result: Any) -> None:
        """Take the result for the output, unless the function has given another one to be shown."""
        if self.durable or shown.output is None:
            shown.output = result

    def _async_generator(self) -> Callable[..., Any]:
        function = self.function

        @wraps(function)
        async def read(*args: Any, **kwargs: Any) -> AsyncIterator[Any]:
            shown, items = self.step(args, kwargs), function(*args, **kwargs)
            await shown.begin()
            try:
                while True:
                    with shown.inside():  # while it works, not while its consumer does
                        item = await anext(items, _END)
                    if item is _END:
                        break
                    await shown.stream_token(_piece(item))
                    yield item
            except BaseException as error:
                await items.aclose()
                await shown.end(error)
                raise
            await shown.end()

        return read

    def _generator(self) -> Callable[..., Any]:
        function = self.function

        @wraps(function)
        def read(*args: Any, **kwargs: Any) -> Iterator[Any]:
            shown, items = self.step(args, kwargs), function(*args, **kwargs)
            run_sync(shown.begin())
            try:
                while True:
                    with shown.inside():
                        item = next(items, _END)
                    if item is _END:
                        break
                    run_sync(shown.stream_token(_piece(item)))
                    yield item
            except BaseException as error:
                items.close()
                run_sync(shown.end(error))
                raise
            run_sync(shown.end())

        return read


_END = object()
"""What a generator that has ended gives."""


def _piece(item: Any) -> str:
    return item if isinstance(item, str) else text_of(item) + "\n"
