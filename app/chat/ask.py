"""Asks: a handler says something and waits for the user's answer, through reconnects and its worker's death."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatch
from typing import Any, ClassVar

from app.chat.action import Action
from app.chat.element import CustomElement, Element
from app.chat.files import FileRef, find_file
from app.chat.message import Message
from app.errors import NoSuchFile, OutsideTurn
from app.protocol import events
from app.runtime import context
from app.runtime.durable import Resolution

DEFAULT_TIMEOUT = 60.0
"""Seconds an ask waits if it is not told otherwise, as in Chainlit."""

MOST_FILES = 64
"""Files of one answer."""

LONGEST_ANSWER = 262_144
"""Characters of an answer in words."""


class _Ask(Message):
    """What all asks share. `timeout` is seconds from the first attempt on; `key` names the ask across attempts."""

    kind: ClassVar[str]

    def __init__(
        self,
        content: str,
        author: str | None = None,
        *,
        timeout: float = DEFAULT_TIMEOUT,
        raise_on_timeout: bool = False,
        key: str | None = None,
    ) -> None:
        super().__init__(content, author)
        if not timeout > 0:
            raise ValueError(f"timeout is {timeout!r}, not a number of seconds above 0")
        self.timeout = timeout
        self.raise_on_timeout = raise_on_timeout
        self.key = key

    async def _answer(
        self, options: Sequence[Any] | None = None, schema: dict[str, Any] | None = None
    ) -> Resolution | None:
        """Show the words, ask, and wait. None if it was declined or nobody answered."""
        turn = context.turn()
        if turn.is_over:
            raise OutsideTurn("the turn has ended: nothing can be asked in it any more")
        await super().send()
        if self.elements:  # they have their ids now
            schema = {**(schema or {}), "element": self.elements[0].id}
        resolution = await turn.asking.ask(
            self.kind,
            self.content,
            timeout=self.timeout,
            is_valid=self.is_valid,
            options=options,
            schema=schema,
            key=self.key,
        )
        if resolution.status == "expired" and self.raise_on_timeout:
            raise TimeoutError(f"nobody answered within {self.timeout:g} s")
        return resolution if resolution.status == "answered" else None

    def is_valid(self, value: Any) -> bool:
        """Whether this is an answer to what was asked; what is none leaves the ask open."""
        raise NotImplementedError


class AskUserMessage(_Ask):
    """Asks for words. `send` returns `{"output": …}` and more, as in Chainlit, or None."""

    kind = "text"

    async def send(self) -> dict[str, Any] | None:  # type: ignore[override]  # an ask returns its answer
        """Ask and wait. Raises: TimeoutError with `raise_on_timeout`; OutsideTurn."""
        answer = await self._answer()
        if answer is None:
            return None
        return {"name": "user", "type": "user_message", "output": answer.value}

    def is_valid(self, value: Any) -> bool:
        """A string of at most 256 Ki characters."""
        return isinstance(value, str) and len(value) <= LONGEST_ANSWER


class AskActionMessage(_Ask):
    """Offers buttons. `send` returns the chosen one as `{"name": …, "payload": …}`, or None."""

    kind = "action"

    def __init__(self, content: str, actions: Sequence[Action], author: str | None = None, **options: Any) -> None:
        super().__init__(content, author, **options)
        if not actions:
            raise ValueError("actions is empty: there is nothing to choose")
        self.choices = list(actions)

    async def send(self) -> dict[str, Any] | None:  # type: ignore[override]  # an ask returns its answer
        """Ask and wait. Raises: TimeoutError with `raise_on_timeout`; OutsideTurn."""
        answer = await self._answer([action.as_dict() for action in self.choices])
        if answer is None:
            return None
        chosen = next(action for action in self.choices if action.name == _name(answer.value))
        return {**chosen.as_dict(), "forId": self.id}

    def is_valid(self, value: Any) -> bool:
        """The name of one of the actions, alone or as `{"name": …}`."""
        return _name(value) in {action.name for action in self.choices}


class AskFileMessage(_Ask):
    """Asks for files of the session, uploaded before. `send` returns them as a list of FileRef, or None.

    `accept` are types as in `text/*`, in a list or as the keys of a dict; `max_size_mb` bounds each file, `max_files`
    their number, 1 to 64.
    """

    kind = "file"

    def __init__(
        self,
        content: str,
        accept: str | Iterable[str] = ("*/*",),
        author: str | None = None,
        *,
        max_size_mb: float = 2,
        max_files: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(content, author, **options)
        if not 1 <= max_files <= MOST_FILES:
            raise ValueError(f"max_files is {max_files}, not 1 to {MOST_FILES}")
        self.accept = [accept] if isinstance(accept, str) else list(accept)
        self.max_size_mb = max_size_mb
        self.max_files = max_files

    async def send(self) -> list[FileRef] | None:  # type: ignore[override]  # an ask returns its answer
        """Ask and wait. Files that are not this session's, of another type or too large end it with None and a toast.

        Raises: TimeoutError with `raise_on_timeout`; OutsideTurn; StoreUnavailable.
        """
        wanted = {"accept": self.accept, "maxSizeMb": self.max_size_mb, "maxFiles": self.max_files}
        answer = await self._answer(schema=wanted)
        if answer is None:
            return None
        files: list[FileRef] = []
        try:
            files += [await find_file(file) for file in answer.value]
        except NoSuchFile as error:
            wrong = str(error)
        else:
            wrong = next(filter(None, map(self._wrong, files)), "")
        if wrong:
            await context.turn().emit([events.toast(wrong[:500], "error")])
            return None
        return files

    def _wrong(self, file: FileRef) -> str:
        if not any(fnmatch(file.mime, pattern) for pattern in self.accept):
            return f"{file.name} is {file.mime}, wanted is {', '.join(self.accept)}"
        if file.size > self.max_size_mb * 1_048_576:
            return f"{file.name} is larger than {self.max_size_mb:g} MB"
        return ""

    def is_valid(self, value: Any) -> bool:
        """A list of file ids, as many as are wanted at most."""
        return (
            isinstance(value, list)
            and 1 <= len(value) <= self.max_files
            and all(isinstance(file, str) for file in value)
        )


class AskElementMessage(_Ask):
    """Shows an element to fill in. `send` returns what the user sent, an object with `submitted`, or None.

    `schema` says what is wanted, in whatever way the client knows; the id of the element is put into it as `element`.
    """

    kind = "element"

    def __init__(
        self,
        content: str,
        element: CustomElement | None = None,
        author: str | None = None,
        *,
        schema: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(content, author, **options)
        if not (element is None or isinstance(element, Element)):
            raise TypeError(f"element is a {type(element).__name__}, not an element: CustomElement(name, props)")
        self.elements = [] if element is None else [element]
        self.schema = schema

    async def send(self) -> dict[str, Any] | None:  # type: ignore[override]  # an ask returns its answer
        """Ask and wait. Raises: TimeoutError with `raise_on_timeout`; OutsideTurn."""
        answer = await self._answer(schema=self.schema)
        return None if answer is None else {**answer.value, "submitted": True}

    def is_valid(self, value: Any) -> bool:
        """Any object."""
        return isinstance(value, dict)


def _name(value: Any) -> str | None:
    name = value.get("name") if isinstance(value, dict) else value
    return name if isinstance(name, str) else None
