"""The wall clock, for what the world outside dates: the expiry of a token, the time in a `pong`. Nothing else."""

from __future__ import annotations

import time


def now() -> float:
    """Seconds since the epoch. It may jump: no order and no deadline of our own may rest on it."""
    return time.time()  # noqa: TID251  # what others dated can be compared with nothing else
