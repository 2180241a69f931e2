"""Unguessable names for marks and turns, whose random bytes are asked of the system by the hundred."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode

TOKEN_BYTES = 12
"""Random bytes of a token: 96 bits, and no padding in base64."""

DRAWN_AT_ONCE = 256
"""Tokens of which the bytes are drawn with one system call, which takes as long as making ten tokens."""

_drawn: list[bytes] = []


def new_token() -> str:
    """A token of 96 random bits in base64url, 16 characters."""
    if not _drawn:
        drawn = os.urandom(TOKEN_BYTES * DRAWN_AT_ONCE)
        _drawn.extend(drawn[at : at + TOKEN_BYTES] for at in range(0, len(drawn), TOKEN_BYTES))
    return urlsafe_b64encode(_drawn.pop()).decode()


os.register_at_fork(after_in_child=_drawn.clear)  # a child must not draw what its parent draws too
