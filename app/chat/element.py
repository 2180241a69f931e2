"""Elements: texts, pictures, files, tables and the like, shown with a message or on their own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import orjson

from app.chat import files
from app.protocol import events
from app.protocol.events import Event
from app.protocol.frames import MAX_NAME
from app.protocol.values import size, text_size
from app.runtime import context
from app.runtime.turn import Turn

Display = Literal["inline", "side", "page"]
"""Where a client shows an element: in the message, beside the conversation, or on a page of its own."""

MAX_INLINE = 16 * 1024
"""JSON bytes of content that stands in the event itself, and stays with the message; what is larger is a file."""
MAX_PROPS = 64 * 1024
"""JSON bytes of the props of a custom element."""
MAX_ELEMENTS = 32
"""Elements of one message."""
MAX_URL = 8 * 1024
"""Characters of an address."""


class Element(ABC):
    """Something that is shown beside words. `send` shows it, a second time as it is then; so does its message.

    `name` has 1 to 256 characters. Its id is its own: sent again, it takes the place of what it was.
    """

    type: ClassVar[str]

    def __init__(self, name: str = "", *, display: Display = "inline", id: str | None = None) -> None:  # noqa: A002  # the name authors know
        if len(name) > MAX_NAME:
            raise ValueError(f"{self.type}: name has {len(name)} characters, at most {MAX_NAME}")
        if display not in get_args(Display):
            raise ValueError(f"{self.type} {name!r}: display is {display!r}, not one of {', '.join(get_args(Display))}")
        self.name = name or self.type
        self.display = display
        self.id = id or ""
        self.for_id: str | None = None

    async def send(self, for_id: str | None = None) -> None:
        """Show the element, under the message `for_id` if one is named.

        Raises: OutsideTurn; ValueError if it is too large, or what it shows is not there.
        """
        turn = context.turn()
        event = await self.shown(turn, for_id or self.for_id)
        await turn.emit([event], size=len(orjson.dumps(event)))

    async def update(self) -> None:
        """Show it as it is now, in its place. The same as `send`."""
        await self.send()

    async def remove(self) -> None:
        """Take it away, in this turn or a later one. Raises: OutsideTurn."""
        turn = context.turn()
        if self.id:
            await turn.emit([events.element_removed(self.id)])

    async def shown(self, turn: Turn, for_id: str | None) -> Event:
        """The event that shows it."""
        self.id = self.id or turn.new_id()
        self.for_id = for_id
        value = {"type": self.type, "name": self.name, "display": self.display, **await self.members()}
        return events.element(self.id, value, for_id)

    @abstractmethod
    async def members(self) -> dict[str, Any]:
        """What it has beside what every element has."""


class Text(Element):
    """A text, shown as Markdown, or as code of a `language`."""

    type = "text"

    def __init__(
        self, content: str = "", name: str = "", *, language: str | None = None, display: Display = "inline"
    ) -> None:
        super().__init__(name, display=display)
        self.content = content
        self.language = language

    async def members(self) -> dict[str, Any]:
        """The text; one over 16 KiB is a file."""
        said = {} if self.language is None else {"language": self.language}
        if len(self.content) * 6 <= MAX_INLINE or text_size(self.content) <= MAX_INLINE:
            return {**said, "mime": "text/plain", "content": self.content}
        return {**said, **file_members(await files.keep(self.content.encode(), name=self.name, mime="text/plain"))}


class _FileElement(Element):
    """What is a file: at a `url`, or kept from a `path` or from the bytes or the text of `content`."""

    fixed_mime: ClassVar[str | None] = None

    def __init__(
        self,
        name: str = "",
        *,
        path: str | Path | None = None,
        url: str | None = None,
        content: bytes | str | None = None,
        mime: str | None = None,
        display: Display = "inline",
    ) -> None:
        super().__init__(name, display=display)
        if [path, url, content].count(None) != 2:  # noqa: PLR2004  # one of three is given
            raise ValueError(f"{self.type} {name!r}: give it exactly one of path, url and content")
        if url is not None and len(url) > MAX_URL:
            raise ValueError(f"{self.type} {name!r}: url has {len(url)} characters, at most {MAX_URL}")
        self.path = Path(path) if path is not None else None
        self.url = url
        self.content = content.encode() if isinstance(content, str) else content
        self.mime = mime or self.fixed_mime
        self._more: dict[str, Any] = {}

    async def members(self) -> dict[str, Any]:
        """Where it is. What is not at a URL is kept once."""
        if self.url is not None:
            said = {} if self.mime is None else {"mime": self.mime}
            return {**said, **self._more, "url": self.url}
        data = self.path if self.content is None else self.content
        assert data is not None  # noqa: S101  # one of three was given
        kept = await files.keep(data, name=self.name, mime=self.mime)
        self.url, self.mime, self.content = kept.url, kept.mime, None
        return {**self._more, **file_members(kept)}


class File(_FileElement):
    """A file to download."""

    type = "file"


class Image(_FileElement):
    """A picture."""

    type = "image"


class Pdf(_FileElement):
    """A PDF document, shown from `page` on, the first by default."""

    type = "pdf"
    fixed_mime: ClassVar[str | None] = "application/pdf"

    def __init__(self, name: str = "", *, page: int = 1, **options: Any) -> None:
        super().__init__(name, **options)
        self._more["page"] = page


class Audio(_FileElement):
    """A recording."""

    type = "audio"

    def __init__(self, name: str = "", *, auto_play: bool = False, **options: Any) -> None:
        super().__init__(name, **options)
        self._more["autoPlay"] = auto_play


class Video(_FileElement):
    """A video."""

    type = "video"


class CustomElement(Element):
    """Something of the client's own: it knows the `name`, and shows the `props`, a JSON object of at most 64 KiB."""

    type = "custom"

    def __init__(
        self,
        name: str,
        props: Mapping[str, Any] | None = None,
        *,
        display: Display = "inline",
        id: str | None = None,  # noqa: A002  # the name authors know
    ) -> None:
        super().__init__(name, display=display, id=id)
        self.props = dict(props or {})

    async def members(self) -> dict[str, Any]:
        """The props. Raises: ValueError if they are not JSON, or too large."""
        try:
            got = size(self.props)
        except TypeError as error:
            raise ValueError(f"custom {self.name!r}: props are not JSON: {error}") from None
        if got > MAX_PROPS:
            raise ValueError(f"custom {self.name!r}: props have {got} bytes as JSON, at most {MAX_PROPS}")
        return {"props": self.props}


def file_members(kept: files.FileRef) -> dict[str, Any]:
    """What an element has that is a file."""
    return {"mime": kept.mime, "url": kept.url, "size": kept.size}
