"""Small things authors reach for."""

from __future__ import annotations

import asyncio


async def sleep(seconds: float) -> None:
    """Let this turn rest while the worker serves the others."""
    await asyncio.sleep(seconds)
