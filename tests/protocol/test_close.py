"""The close codes are those of the protocol's table, and each says whether to come back."""

from __future__ import annotations

import pytest

from app.protocol.close import CloseCode

TABLE = {
    1000: ("done", "stop"),
    1009: ("frame too big", "stop"),
    1012: ("worker is going away", "reconnect, jittered"),
    1013: ("server too busy", "reconnect after `after_ms`"),
    4400: ("not a valid frame, or first frame no `hello`", "stop"),
    4401: ("not authenticated, or token expired", "log in again"),
    4403: ("not your session, origin or host refused", "stop"),
    4404: ("no such session or agent", "start anew"),
    4408: ("no `hello` in time, or silent for too long", "reconnect"),
    4409: ("input counter skipped", "resend from `acked` + 1"),
    4410: ("session ended", "start anew"),
    4429: ("too many frames", "reconnect after `after_ms`"),
    4431: ("reads too slowly", "reconnect and resume"),
    4500: ("server fault", "reconnect, backoff"),
}
"""Number: meaning, and what the client should do, as the protocol has it."""


def test_no_code_is_missing_and_none_is_new() -> None:
    assert {int(code) for code in CloseCode} == set(TABLE)


@pytest.mark.parametrize("number", TABLE)
def test_a_code_says_why_and_whether_to_come_back(number: int) -> None:
    meaning, client_should = TABLE[number]
    code = CloseCode(number)
    assert code.reason == meaning.replace("`", "")
    assert code.reconnect == client_should.startswith(("reconnect", "resend"))
    assert len(code.reason.encode()) <= 123
