"""The history checker: whether a journal of the chaos suite is one that Parley may leave behind.

`python -m tests.chaos.checker JOURNAL…` says what is wrong with journals, and ends with 1 if anything is.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tests.chaos.history import History
from tests.chaos.journal import Journal
from tests.chaos.rules import end, inputs, log, things, turns, whole

Rule = Callable[[History], Iterator[str]]

RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rules in (log.RULES, turns.RULES, things.RULES, inputs.RULES, end.RULES, whole.RULES)
    for rule in rules
}
"""Every rule by its name; its docstring says what must hold."""

MOST = 20
"""Violations of one rule that are reported: one fault often breaks a rule everywhere."""


class Violation(NamedTuple):
    """A rule, and where and how it does not hold."""

    rule: str
    words: str


def check(journal: Journal) -> list[Violation]:
    """What is wrong with a history, at most MOST of each rule."""
    history = History(journal)
    return [Violation(name, words) for name, rule in RULES.items() for words in islice(_found(rule, history), MOST)]


def _found(rule: Rule, history: History) -> Iterator[str]:
    try:
        yield from rule(history)
    except (LookupError, TypeError, ValueError) as error:  # frames may be wrong in ways that no rule is ready for
        yield f"cannot be read: {error!r}"


def report(violations: list[Violation]) -> str:
    """Violations in words: how many of each rule, then each of them."""
    counts = [f"{n} times {rule}" for rule, n in Counter(violation.rule for violation in violations).items()]
    return "\n".join([*counts, *(f"{violation.rule}: {violation.words}" for violation in violations)])


def main(paths: list[str]) -> int:
    """Check journals; how many are wrong."""
    wrong = 0
    for path in paths:
        violations = check(Journal.load(Path(path)))
        wrong += bool(violations)
        sys.stdout.write(f"{path}: {len(violations)} violations\n{report(violations)}\n")
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) > 0)
