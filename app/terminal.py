"""The terminal client (being written)."""

from __future__ import annotations


def chat(url: str, agent: str | None, once: str | None, token: str | None, session: str | None) -> int:
    """Talk."""
    raise NotImplementedError
