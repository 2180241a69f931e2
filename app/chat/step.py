"""Steps: what an agent does on its way to an answer, shown as it happens, nested as it is called."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

import orjson

from app.chat.naming import shown_name
from app.chat.step_view import ActivityView, Look, ToolView, View
from app.errors import OutsideTurn
from app.executor import run_sync
from app.protocol import events
from app.protocol.events import Event, StepStatus
from app.protocol.values import MAX_VALUE_BYTES, clean
from app.runtime import context
from app.runtime.turn import Turn

MAX_RESULT_BYTES = MAX_VALUE_BYTES
"""JSON bytes of a durable step's result."""
NEW_PART = 16
"""A streamed output is shown anew when this part of it has not been shown: in all it costs so many times its size."""

_STRICT = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS

_current: ContextVar[Step | None] = ContextVar("parley_step", default=None)


def current_step() -> Step | None:
    """The innermost step that this code runs in, if it runs in one."""
    return _current.get()


class Step:
    """Something the agent does, for `async with` or `with`; the same in what `make_async` calls.

    `input` and `output` are shown as JSON, each up to 64 KiB; assign them, and they are shown at the next
    `stream_token`, `update` or the end. A step of type `tool` is an AG-UI tool call, any other an activity.
    An exception makes it `failed`; its `output`, if there is none yet, is the exception's type, and its text too
    with PARLEY_SHOW_ERRORS. What is open at the turn's end is closed as cancelled.

    With `durable` the output, which must be JSON, is kept when the block ends; a next attempt of the turn finds
    it: `is_kept` is true then, `output` is what was kept, and the block should do nothing. It is known by `key`,
    or else by its name and input, and by its place among equals.

    `send` and `update` show it without a block: as running until it has an output.
    """

    def __init__(  # noqa: PLR0913  # what Chainlit's takes, and what makes it durable
        self,
        name: str = "step",
        type: str = "undefined",  # noqa: A002  # the name authors know
        id: str | None = None,  # noqa: A002  # the name authors know
        parent_id: str | None = None,
        *,
        input: Any = None,  # noqa: A002  # the name authors know
        output: Any = None,
        show_input: bool | str = True,
        durable: bool = False,
        key: str | None = None,
    ) -> None:
        self.name = name
        self.type = type
        self.id = id or ""
        self.parent_id = parent_id
        self.input = input
        self.output = output
        self.show_input = bool(show_input)
        self.durable = durable
        self.is_kept = False
        self.is_error = False
        self._author_key = key
        self._key = ""
        self._turn: Turn | None = None
        self._view: View | None = None
        self._shown_name = name
        self._outer: Step | None = None
        self._status: StepStatus = "running"
        self._in_block = False
        self._streamed = 0

    # ---- as a block

    async def __aenter__(self) -> Self:
        await self.begin()
        self._outer = _current.get()
        _current.set(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.set(self._outer)
        await self.end(error)

    def __enter__(self) -> Self:
        run_sync(self.begin())
        self._outer = _current.get()
        _current.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _current.set(self._outer)
        run_sync(self.end(error))

    async def begin(self) -> None:
        """What a block begins with, for code that cannot be one.

        Raises: OutsideTurn; RuntimeError if it has begun before; TypeError if it is durable, has no key, and its
        input is not JSON.
        """
        if self._view is not None:
            raise RuntimeError(f"step {self.name!r} has begun before: make another Step")
        turn = context.turn()
        kept = self._find(turn) if self.durable else None
        if kept is not None:
            self.is_kept, self.output = True, kept[0]
        self._in_block = True
        await self._show(turn, "running" if kept is None else "done")

    async def end(self, error: BaseException | None = None) -> None:
        """What a block ends with. Raises: TypeError, ValueError if a durable step's output cannot be kept."""
        turn = self._turn or context.turn()
        self._in_block = False
        if error is not None:
            await self._fail(turn, error)
        elif self.durable and not self.is_kept:
            await self._keep(turn)
        else:
            await self._show(turn, "done")

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Have what is called in the `with` block be inside this step, without beginning or ending it."""
        outer = _current.get()
        _current.set(self)
        try:
            yield
        finally:
            _current.set(outer)

    # ---- step by step

    async def send(self) -> Self:
        """Show the step, or what changed of it. Returns itself, without waiting for the store. Raises: OutsideTurn."""
        await self.update()
        return self

    async def update(self) -> None:
        """Show what changed. Outside a block a step with an output is done. Raises: OutsideTurn."""
        running = self._in_block or (self.output is None and self._status == "running")
        ended: StepStatus = "done" if self._status == "running" else self._status
        await self._show(self._turn or context.turn(), "running" if running else ended)

    async def remove(self) -> None:
        """Take the step out of the conversation, in its turn or a later one. Raises: OutsideTurn."""
        turn = context.turn()
        if self._view is None:
            return
        is_open = self._status == "running" and turn is self._turn  # its turn's end has closed it otherwise
        last = [self._view.closing()] if is_open else []
        self._status = "cancelled"
        turn.closed(self.id)
        await turn.emit([*last, *(events.message_removed(id_) for id_ in self._view.ids())])

    async def stream_token(self, token: str, is_sequence: bool = False, is_input: bool = False) -> None:  # noqa: FBT001, FBT002  # as authors know it
        """Add to the output, or with `is_input` to the input, and show it; `is_sequence` puts it in its place.

        An activity's text is shown anew when a sixteenth of it is new, the rest with the step's end. A tool's
        input travels piece by piece and is to be JSON in the end; its output is shown when it ends, as AG-UI has it.
        Raises: OutsideTurn; TypeError if `token`, or what it is added to, is no string.
        """
        turn = self._turn or context.turn()
        member = "input" if is_input else "output"
        before = getattr(self, member)
        if not isinstance(before, str | None):
            raise TypeError(
                f"step {self.name!r}: its {member} is a {type(before).__name__}, to which no token is added"
            )
        text = clean(token) if is_sequence else (before or "") + clean(token)
        setattr(self, member, text)
        if is_input and isinstance(self._view, ToolView) and self.show_input:
            await self._emit(turn, self._view.input_piece(self._look(), token))
        elif self._is_new(text, is_sequence=is_sequence):
            await self._show(turn, self._status)

    # ---- inside

    def _is_new(self, text: str, *, is_sequence: bool) -> bool:
        """Whether enough of a streamed text is new to show it."""
        size = len(text)
        if is_sequence or size < self._streamed or (size - self._streamed) * NEW_PART >= size:
            self._streamed = size
            return True
        return False

    def _find(self, turn: Turn) -> tuple[Any] | None:
        """What an earlier attempt kept of this step."""
        named = self._author_key if self._author_key is not None else {"input": self.input}
        try:
            self._key = turn.steps.key(self.name, named)
        except TypeError as error:
            words = f"step {self.name!r} is durable and its input is not JSON ({error}): give it a key="
            raise TypeError(words) from None
        kept = turn.steps.finished(self._key)
        if kept is None:
            turn.steps.begin(self._key)
        return kept

    async def _keep(self, turn: Turn) -> None:
        try:
            self.output = _kept_form(self.name, self.output)
        except (TypeError, ValueError) as error:
            self.output = None
            await self._fail(turn, error)
            raise
        await self._show(turn, "done")
        await turn.steps.finish(self._key, self.output)

    async def _fail(self, turn: Turn, error: BaseException) -> None:
        if self._key and not self.is_kept:
            turn.steps.failed(self._key)
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            status: StepStatus = "cancelled"
        else:
            status, self.is_error = "failed", True
            if self.output is None:
                text = f"{type(error).__name__}: {error}" if turn.show_errors else type(error).__name__
                self.output = text
        with suppress(OutsideTurn):  # the turn's end has closed it; the error is what matters
            await self._show(turn, status)

    async def _show(self, turn: Turn, status: StepStatus) -> None:
        if self._view is None:
            await self._first(turn)
        self._status = status
        assert self._view is not None  # noqa: S101  # `_first` made it
        made = self._view.show(self._look())
        if status == "running":
            turn.opened(self.id, self._view.closing())
        else:
            turn.closed(self.id)
        await self._emit(turn, made)

    async def _first(self, turn: Turn) -> None:
        self._turn = turn
        self.id = self.id or turn.new_id()
        outer = _current.get()
        if self.parent_id is None and outer is not None:
            self.parent_id = outer.id
        self._shown_name = await shown_name(turn, self.name)
        self._view = ToolView(self.id, turn.new_id) if self.type == "tool" else ActivityView(self.id)

    def _look(self) -> Look:
        given = self.input if self.show_input else None
        return Look(self._shown_name, self.type, self.parent_id, given, self.output, self._status)

    async def _emit(self, turn: Turn, made: list[Event]) -> None:
        if made:
            await turn.emit(made, size=len(orjson.dumps(made)))


def _kept_form(name: str, result: Any) -> Any:
    """A durable step's result as a next attempt will find it."""
    try:
        kept = orjson.dumps(result, option=_STRICT)
    except TypeError as error:
        words = f"step {name!r} is durable, and its result is not JSON ({error}): return what is, a dict for example"
        raise TypeError(words) from None
    if len(kept) > MAX_RESULT_BYTES:
        words = f"step {name!r} is durable, and its result has {len(kept)} bytes as JSON, at most {MAX_RESULT_BYTES}"
        raise ValueError(f"{words}: keep it elsewhere and return where")
    return orjson.loads(kept)
