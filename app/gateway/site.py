"""What all connections of a worker share."""

from __future__ import annotations

from dataclasses import dataclass

from app.gateway.auth import Authenticator
from app.gateway.directory import Directory
from app.gateway.folds import Folds
from app.settings import Settings
from app.store.base import Gateway


@dataclass(frozen=True, slots=True)
class Site:
    """The parts a connection works with. `kinds` are the inputs this server works on; others are refused."""

    store: Gateway
    authenticator: Authenticator
    directory: Directory
    settings: Settings
    worker: str
    kinds: frozenset[str]
    folds: Folds
