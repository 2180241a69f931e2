"""The close codes are those of the table in docs/protocol.md, and each says whether to come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.protocol.close import CloseCode

DOCUMENT = Path(__file__).parents[2] / "docs" / "protocol.md"
TABLE = {
    int(number): (reason, reconnect == "yes")
    for number, reason, reconnect in re.findall(
        r"^\| (\d{4}) \| ([^|]+) \| (yes|no) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE
    )
}
"""Number: reason, and whether to come back without asking anybody."""


def test_no_code_is_missing_and_none_is_new() -> None:
    assert len(TABLE) == 14
    assert {int(code) for code in CloseCode} == set(TABLE)


@pytest.mark.parametrize("number", TABLE)
def test_a_code_says_why_and_whether_to_come_back(number: int) -> None:
    code = CloseCode(number)
    assert (code.reason, code.reconnect) == TABLE[number]
    assert len(code.reason.encode()) <= 123
