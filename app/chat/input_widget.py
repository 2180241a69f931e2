"""Input widgets: the fields of a settings form, each with what it takes."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import date
from typing import Any, ClassVar, Literal, Self

from app.protocol.frames import MAX_NAME

MAX_TEXT = 16 * 1024
"""Characters of a text that is typed in."""
MAX_ITEMS = 500
"""Items to choose from, and tags."""
MAX_LABEL = 1024
"""Characters of a label, a tooltip, a description or a placeholder."""


@dataclass(kw_only=True)
class InputWidget(ABC):
    """One field of a form. Its `id` names its value; `initial` is what it has at first.

    Raises: ValueError if a member is out of its bounds, or `initial` is no value of it.
    """

    kind: ClassVar[str]

    id: str = field(kw_only=False)
    label: str = field(kw_only=False)
    tooltip: str = ""
    description: str = ""
    disabled: bool = False

    def __post_init__(self) -> None:
        if not 1 <= len(self.id) <= MAX_NAME:
            raise ValueError(f"{self.kind}: id has {len(self.id)} characters, it needs 1 to {MAX_NAME}")
        for name, text in asdict(self).items():
            if isinstance(text, str) and not name.startswith("initial") and len(text) > MAX_LABEL:
                raise ValueError(f"{self.id}: {name} has {len(text)} characters, at most {MAX_LABEL}")
        start = self.start
        try:
            self.check(start)
        except ValueError as error:
            raise ValueError(f"{self.id}: initial {error}") from None

    @property
    def start(self) -> Any:
        """The value it has at first."""
        return getattr(self, "initial", None)

    @abstractmethod
    def check(self, value: Any) -> None:
        """Raises: ValueError saying what is wrong with a value of a client."""

    def as_dict(self) -> dict[str, Any]:
        """The widget as clients see it, and as the session keeps it."""
        given = {_camel(name): value for name, value in asdict(self).items() if value is not None}
        return {"type": self.kind, **given}

    @classmethod
    def from_dict(cls, members: Mapping[str, Any]) -> Self:
        """The widget that `as_dict` wrote."""
        return cls(**{f.name: members[_camel(f.name)] for f in fields(cls) if _camel(f.name) in members})


@dataclass(kw_only=True)
class Switch(InputWidget):
    """On or off."""

    kind = "switch"
    initial: bool = False

    def check(self, value: Any) -> None:
        """A bool."""
        _need(isinstance(value, bool), "needs true or false")


@dataclass(kw_only=True)
class Checkbox(Switch):
    """Ticked or not."""

    kind = "checkbox"


@dataclass(kw_only=True)
class Slider(InputWidget):
    """A number from `min` to `max`; `step` is what a client moves it by."""

    kind = "slider"
    initial: float = 0
    min: float = 0
    max: float = 10
    step: float = 1

    def check(self, value: Any) -> None:
        """A number within the bounds."""
        _need(_is_number(value) and self.min <= value <= self.max, f"needs a number from {self.min} to {self.max}")


@dataclass(kw_only=True)
class NumberInput(InputWidget):
    """A number, or none."""

    kind = "numberinput"
    initial: float | None = None
    placeholder: str = ""

    def check(self, value: Any) -> None:
        """A number or None."""
        _need(value is None or _is_number(value), "needs a number")


@dataclass(kw_only=True)
class TextInput(InputWidget):
    """A text of at most 16 Ki characters."""

    kind = "textinput"
    initial: str = ""
    placeholder: str = ""
    multiline: bool = False

    def check(self, value: Any) -> None:
        """A string that is not too long."""
        _need(isinstance(value, str) and len(value) <= MAX_TEXT, f"needs a text of at most {MAX_TEXT} characters")


@dataclass(kw_only=True)
class _Choice(InputWidget):
    """What is chosen from: `values`, or `items` from what is shown to the value."""

    values: Sequence[str] | None = None
    items: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if (self.values is None) == (self.items is None):
            raise ValueError(f"{self.id}: give it either values or items")
        self.items = dict(self.items or {value: value for value in self.values or ()})
        self.values = None
        if not 1 <= len(self.items) <= MAX_ITEMS:
            raise ValueError(f"{self.id}: {len(self.items)} items to choose from, it needs 1 to {MAX_ITEMS}")
        super().__post_init__()

    def offered(self) -> list[str]:
        """The values in their order."""
        return list((self.items or {}).values())


@dataclass(kw_only=True)
class Select(_Choice):
    """One of several, in a list that opens; the first one, if neither `initial_value` nor `initial_index` is given."""

    kind = "select"
    initial_index: int | None = None
    initial_value: str | None = None

    @property
    def start(self) -> str:
        """The chosen one. Raises: ValueError if there is no such index."""
        if self.initial_value is not None:
            return self.initial_value
        offered, index = self.offered(), self.initial_index or 0
        if not 0 <= index < len(offered):
            raise ValueError(f"{self.id}: initial_index is {index}, there are {len(offered)} items")
        return offered[index]

    def check(self, value: Any) -> None:
        """One of the values."""
        _need(value in self.offered(), f"needs one of {_listed(self.offered())}")


@dataclass(kw_only=True)
class RadioGroup(Select):
    """One of several, all of them in view."""

    kind = "radio"


@dataclass(kw_only=True)
class MultiSelect(_Choice):
    """Any of several."""

    kind = "multiselect"
    initial: list[str] = field(default_factory=list)

    def check(self, value: Any) -> None:
        """A list of some of the values, each once."""
        fits = _is_texts(value) and set(value) <= set(self.offered()) and len(set(value)) == len(value)
        _need(fits, f"needs a list of some of {_listed(self.offered())}")


@dataclass(kw_only=True)
class Tags(InputWidget):
    """Words of the user's own, at most 500; `values` are proposals."""

    kind = "tags"
    initial: list[str] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def check(self, value: Any) -> None:
        """A list of short strings."""
        fits = _is_texts(value) and len(value) <= MAX_ITEMS and all(1 <= len(tag) <= MAX_NAME for tag in value)
        _need(fits, f"needs a list of at most {MAX_ITEMS} texts of 1 to {MAX_NAME} characters")


@dataclass(kw_only=True)
class DatePicker(InputWidget):
    """A day as `YYYY-MM-DD`, or with `mode="range"` a list of two, or none; within `min_date` and `max_date`."""

    kind = "datepicker"
    mode: Literal["single", "range"] = "single"
    initial: str | list[str] | None = None
    min_date: str | None = None
    max_date: str | None = None
    placeholder: str = ""

    def check(self, value: Any) -> None:
        """A day, or two of which the second is not before the first."""
        if value is None:
            return
        if self.mode == "single":
            self._day(value)
            return
        _need(isinstance(value, list) and len(value) == 2, "needs a list of two days")  # noqa: PLR2004  # from, to
        _need(self._day(value[0]) <= self._day(value[1]), "needs a first day that is not after the second")

    def _day(self, value: Any) -> date:
        _need(isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value) is not None, "needs a YYYY-MM-DD")
        day = date.fromisoformat(value)
        first = date.fromisoformat(self.min_date) if self.min_date else date.min
        last = date.fromisoformat(self.max_date) if self.max_date else date.max
        _need(first <= day <= last, f"needs a day from {first} to {last}")
        return day


@dataclass(kw_only=True)
class Tab:
    """Some fields of a form on a tab of their own."""

    id: str = field(kw_only=False)
    label: str = field(kw_only=False)
    inputs: Sequence[InputWidget]

    def as_dict(self) -> dict[str, Any]:
        """The tab as clients see it."""
        return {"type": "tab", "id": self.id, "label": self.label, "inputs": [w.as_dict() for w in self.inputs]}


_KINDS: dict[str, type[InputWidget]] = {
    widget.kind: widget
    for widget in (
        Switch,
        Checkbox,
        Slider,
        NumberInput,
        TextInput,
        Select,
        RadioGroup,
        MultiSelect,
        Tags,
        DatePicker,
    )
}


def widgets_of(form: Sequence[Mapping[str, Any]]) -> dict[str, InputWidget]:
    """The fields of a form that was kept, by id, those on tabs too."""
    found: dict[str, InputWidget] = {}
    for members in form:
        if members["type"] == "tab":
            found |= widgets_of(members["inputs"])
        else:
            found[members["id"]] = _KINDS[members["type"]].from_dict(members)
    return found


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _need(holds: bool, words: str) -> None:  # noqa: FBT001  # a check and what it says
    if not holds:
        raise ValueError(words)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _listed(offered: Sequence[str]) -> str:
    text = ", ".join(offered)
    return text if len(text) <= MAX_NAME else f"{len(offered)} values"
