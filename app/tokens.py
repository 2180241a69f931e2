"""Unguessable names for marks and turns, drawn by the hundred."""

from __future__ import annotations

import os
from base64 import urlsafe_b64encode

TOKEN_BYTES = 12
"""Random bytes of a token: 96 bits, and no padding in base64."""

TOKEN_CHARACTERS = 16

DRAWN_AT_ONCE = 256
"""Tokens of which the bytes are drawn with one system call, which takes as long as making ten tokens."""

_drawn: list[str] = []


def new_token() -> str:
    """A token of 96 random bits in base64url, 16 characters."""
    if not _drawn:
        drawn = urlsafe_b64encode(os.urandom(TOKEN_BYTES * DRAWN_AT_ONCE)).decode()
        _drawn.extend(drawn[at : at + TOKEN_CHARACTERS] for at in range(0, len(drawn), TOKEN_CHARACTERS))
    return _drawn.pop()


os.register_at_fork(after_in_child=_drawn.clear)  # a child must not draw what its parent draws too
