"""The settings form: shown, kept, checked; each widget with what it takes and what it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from app.chat.chat_settings import ChatSettings
from app.chat.input_widget import (
    Checkbox,
    DatePicker,
    InputWidget,
    MultiSelect,
    NumberInput,
    RadioGroup,
    Select,
    Slider,
    Switch,
    Tab,
    Tags,
    TextInput,
    widgets_of,
)
from tests.chat.seen import checked, customs, folded
from tests.runtime.conftest import Start
from tests.runtime.stage import Talk

FORM = """
def form():
    return cl.ChatSettings([
        cl.Select(id="model", label="Model", values=["small", "large"], initial_index=1),
        cl.Tab(id="more", label="More", inputs=[cl.Slider(id="heat", label="Heat", initial=0.5, max=1, step=0.1)]),
        cl.Switch(id="fixed", label="Fixed", disabled=True),
    ])

@cl.on_message
async def main(message):
    await cl.Message(str(await form().send())).send()

@cl.on_settings_update
async def update(values):
    await cl.Message(f"set {values} {cl.user_session['chat_settings'] == values}").send()
"""


async def put(talk: Talk, values: dict[str, Any]) -> str:
    accepted = await talk.send({"type": "settings", "values": values})
    assert accepted.turn is not None
    await talk.done(accepted.turn)
    checked(talk)
    return talk.text(accepted.turn)


async def test_what_is_set_is_kept_with_the_session_and_told(worker: Start) -> None:
    first = await worker(FORM)
    talk = await Talk.start(first)
    assert await talk.ask("x") == "{'model': 'large', 'heat': 0.5, 'fixed': False}"
    assert await put(talk, {"heat": 1}) == "set {'model': 'large', 'heat': 1, 'fixed': False} True"
    await first.stop()
    await talk.move(await worker())
    both = {"model": "small", "fixed": False}
    assert await put(talk, both) == "set {'model': 'small', 'heat': 1, 'fixed': False} True"
    assert await talk.ask("the form again") == "{'model': 'small', 'heat': 1, 'fixed': False}"
    assert [form["values"]["heat"] for form in customs(talk, "settings")] == [0.5, 1, 1, 1]
    assert [entry["type"] for entry in customs(talk, "settings")[0]["inputs"]] == ["select", "tab", "switch"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"heat": 2}, "heat: needs a number from 0 to 1"),
        ({"heat": True}, "heat: needs a number from 0 to 1"),
        ({"model": "huge"}, "model: needs one of small, large"),
        ({"model": ["small"]}, "model: needs one of small, large"),
        ({"fixed": True}, "fixed: cannot be changed"),
        ({"other": 1, "heat": "x"}, "heat: needs a number from 0 to 1; other: there is no such field"),
    ],
)
async def test_what_does_not_fit_is_refused_and_named(worker: Start, values: dict[str, Any], says: str) -> None:
    talk = await Talk.start(await worker(FORM))
    await talk.ask("x")
    assert await put(talk, values) == ""
    assert customs(talk, "toast") == [{"message": f"not set: {says}", "type": "error"}]
    assert customs(talk, "settings")[-1]["values"] == {"model": "large", "heat": 0.5, "fixed": False}
    assert await talk.ask("x") == "{'model': 'large', 'heat': 0.5, 'fixed': False}"


async def test_values_that_are_too_large_together_are_refused(worker: Start) -> None:
    source = """
    @cl.on_message
    async def main(message):
        await cl.ChatSettings([cl.TextInput(str(n), "x") for n in range(3)]).send()

    @cl.on_settings_update
    async def update(values):
        await cl.Message("set").send()
    """
    talk = await Talk.start(await worker(source))
    await talk.ask("x")
    assert await put(talk, {"0": "x" * 16_000, "1": "y" * 16_000}) == "set"
    assert await put(talk, {"2": "z" * 16_000}) == ""
    assert "at most 40960" in customs(talk, "toast")[-1]["message"]
    assert await put(talk, {"2": "small", "0": ""}) == "set"
    values = folded(talk)["settings"]["values"]
    assert [len(values[n]) for n in "012"] == [0, 16_000, 5]


async def test_settings_without_a_form_are_refused(worker: Start) -> None:
    talk = await Talk.start(await worker(FORM))
    assert await put(talk, {"x" * 5000: 1}) == ""
    assert customs(talk, "toast") == [{"message": f"not set: {'x' * 64}: there is no such field", "type": "error"}]


WIDGETS: list[tuple[InputWidget, list[Any], list[Any]]] = [
    (Switch(id="w", label=""), [True, False], [1, "true", None]),
    (Checkbox(id="w", label=""), [True], [0]),
    (Slider(id="w", label="", min=-1, max=1), [-1, 0.5, 1], [1.1, "1", None, True, float("nan"), [0]]),
    (NumberInput(id="w", label=""), [1, -2.5, None], ["1", float("inf"), False]),
    (TextInput(id="w", label=""), ["", "x" * 16_384], ["x" * 16_385, 1, None]),
    (Select(id="w", label="", values=["a", "b"]), ["a"], ["c", 1, None, ["a"]]),
    (RadioGroup(id="w", label="", items={"A": "a"}), ["a"], ["A"]),
    (MultiSelect(id="w", label="", values=["a", "b"]), [[], ["b", "a"]], [["a", "a"], ["c"], "a", [["a"]]]),
    (Tags(id="w", label=""), [[], ["x", "y"]], [[""], [1], "x", ["x"] * 501]),
    (DatePicker(id="w", label="", min_date="2026-01-01"), ["2026-01-01", None], ["2025-12-31", "1.1.2026", 1, []]),
    (
        DatePicker(id="w", label="", mode="range"),
        [["2026-01-01", "2026-01-01"], None],
        ["2026-01-01", ["2026-01-02", "2026-01-01"], ["2026-13-01", "2026-13-01"], ["2026-01-01"]],
    ),
]


@pytest.mark.parametrize(
    ("widget", "good", "bad"), WIDGETS, ids=[f"{w.kind}-{getattr(w, 'mode', '')}" for w, _, _ in WIDGETS]
)
def test_a_widget_takes_what_fits_also_after_it_was_kept(widget: InputWidget, good: list[Any], bad: list[Any]) -> None:
    kept = widgets_of([widget.as_dict()])["w"]
    assert kept == widget
    for value in good:
        kept.check(value)
    for value in bad:
        with pytest.raises(ValueError, match=r"needs|Invalid|month"):
            kept.check(value)


IMPOSSIBLE: dict[str, Callable[[], object]] = {
    "w: initial needs a number from 0 to 10": lambda: Slider(id="w", label="", initial=11),
    "0 items to choose from": lambda: Select(id="w", label="", values=[]),
    "give it either values or items": lambda: Select(id="w", label=""),
    "initial_index is 1, there are 1 items": lambda: Select(id="w", label="", values=["a"], initial_index=1),
    "w: initial needs one of a": lambda: Select(id="w", label="", values=["a"], initial_value="b"),
    "id has 0 characters": lambda: Switch(id="", label=""),
    "label has 1025 characters": lambda: Switch(id="w", label="x" * 1025),
    "two fields": lambda: ChatSettings(
        [Switch(id="w", label=""), Tab(id="t", label="", inputs=[Switch(id="w", label="")])]
    ),
    "101 fields": lambda: ChatSettings([Switch(id=str(i), label="") for i in range(101)]),
}


@pytest.mark.parametrize("says", IMPOSSIBLE)
def test_a_form_that_cannot_be_is_refused(says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        IMPOSSIBLE[says]()
