"""Keeps the private Valkey alive while its server serves."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from typing import Self

from app import logs
from app.errors import ConfigError
from app.store.embedded import EmbeddedValkey

log = logs.get(__name__)

LOOK_EVERY = 0.5
"""Seconds between looks at its process."""

TRY_EVERY = 5.0
"""Seconds between attempts to start one that does not come up."""


class Keeper(AbstractContextManager["Keeper"]):
    """Looks after a Valkey in a thread of its own, for the length of a `with` block; a dead one is started again."""

    def __init__(self, valkey: EmbeddedValkey) -> None:
        self._valkey = valkey
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="valkey keeper", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        pause = LOOK_EVERY
        while not self._over.wait(pause):
            pause = LOOK_EVERY
            try:
                if self._valkey.revive():
                    log.warning("valkey_started_again", reason="its process had ended")
            except (ConfigError, OSError) as error:
                log.critical("valkey_does_not_start", reason=str(error))
                pause = TRY_EVERY
