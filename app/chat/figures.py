"""Elements made of what data libraries make: figures and tables. None of these libraries is imported."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import orjson

from app.chat import files
from app.chat.element import MAX_INLINE, Display, Element, file_members
from app.executor import make_async

MAX_ROWS = 500
"""Rows of a table that are shown."""


class PlotlyFigure(Protocol):
    """A figure of plotly."""

    def to_json(self) -> str | None:
        """The figure as JSON."""


class MatplotlibFigure(Protocol):
    """A figure of matplotlib."""

    def savefig(self, fname: Any, *, format: str) -> Any:  # noqa: A002  # the name matplotlib has
        """Write it as a picture."""


@runtime_checkable
class Frame(Protocol):
    """A data frame of pandas."""

    def head(self, n: int) -> Any:
        """The first rows."""

    def to_json(self, *, orient: Any, date_format: Any) -> Any:
        """The frame as JSON."""

    def __len__(self) -> int: ...


class Plotly(Element):
    """A figure of plotly, as its JSON; one over 16 KiB is a file."""

    type = "plotly"

    def __init__(self, name: str = "", *, figure: PlotlyFigure, display: Display = "inline") -> None:
        super().__init__(name, display=display)
        self.figure = figure

    async def members(self) -> dict[str, Any]:
        """The figure's JSON."""
        made = (await make_async(self.figure.to_json)() or "{}").encode()
        return await _content(made, self.name)


class Pyplot(Element):
    """A figure of matplotlib, drawn as a PNG in the executor. Close the figure yourself."""

    type = "image"

    def __init__(self, name: str = "", *, figure: MatplotlibFigure, display: Display = "inline") -> None:
        super().__init__(name, display=display)
        self.figure = figure

    async def members(self) -> dict[str, Any]:
        """Where the picture is."""
        kept = await files.keep(await make_async(self._drawn)(), name=f"{self.name}.png", mime="image/png")
        return file_members(kept)

    def _drawn(self) -> bytes:
        drawn = io.BytesIO()
        self.figure.savefig(drawn, format="png")
        return drawn.getvalue()


class Dataframe(Element):
    """A table: a data frame of pandas, or a list of dicts. Its first 500 rows are shown, and how many there are.

    `content` is `{"columns": […], "data": [[…], …], "rows": …, "truncated": …}`; one over 16 KiB is a file.
    """

    type = "dataframe"

    def __init__(
        self, data: Frame | Sequence[Mapping[str, Any]], name: str = "", *, display: Display = "inline"
    ) -> None:
        super().__init__(name, display=display)
        self.data = data

    async def members(self) -> dict[str, Any]:
        """The rows that are shown."""
        return await _content(await make_async(self._table)(), self.name)

    def _table(self) -> bytes:
        """Raises: ValueError if the rows are no objects of JSON."""
        if isinstance(self.data, Frame):
            shown = orjson.loads(self.data.head(MAX_ROWS).to_json(orient="split", date_format="iso"))
        else:
            shown = _split(self.data[:MAX_ROWS])
        rows = len(self.data)
        made = {"columns": shown["columns"], "data": shown["data"], "rows": rows, "truncated": rows > MAX_ROWS}
        try:
            return orjson.dumps(made, default=str)
        except TypeError as error:
            raise ValueError(f"dataframe {self.name!r}: {error}") from None


def _split(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    columns = list(dict.fromkeys(str(column) for row in rows for column in row))
    return {"columns": columns, "data": [[row.get(column) for column in columns] for row in rows]}


async def _content(made: bytes, name: str) -> dict[str, Any]:
    """JSON in the event itself, or in a file if it is too large for that."""
    if len(made) <= MAX_INLINE:
        return {"mime": "application/json", "content": orjson.loads(made)}
    kept = await files.keep(made, name=f"{name}.json", mime="application/json")
    return file_members(kept)
