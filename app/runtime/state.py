"""A session's state in its owner's hands: read lazily, kept as JSON, committed with the turn."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any

import orjson
from pydantic import BaseModel

from app import logs
from app.errors import SessionStateError
from app.protocol.values import clean
from app.store.base import Claim

log = logs.get(__name__)

_JSON, _MODEL, _LOCAL = b"j", b"m", b"l"
"""What a kept value starts with: JSON; a pydantic model's class and its JSON; a value that is on one worker only."""


MAX_KEY = 256
"""Characters of a key."""


SHARED = "parley:state"
"""The session's value that clients follow."""

PROFILE = "chat_profile"
"""The session's value that holds the profile that the user chose; Chainlit's name for it."""


def given(claim: Claim) -> dict[str, bytes]:
    """The values that a session has from its beginning."""
    return {PROFILE: _JSON + orjson.dumps(claim.profile)} if claim.profile else {}


class SessionState(MutableMapping[str, Any]):
    """The values of `user_session`.

    `kept` is what the store holds. A value that is read may be changed in place, so all that was touched is
    encoded again when the changes are asked for. `local` holds what JSON cannot; it stays on this worker.
    """

    def __init__(self, session: str, kept: dict[str, bytes], local: dict[str, Any], limit: int) -> None:
        self._session = session
        self._kept = kept
        self._values: dict[str, Any] = {}
        self._removed: set[str] = set()
        self._limit = limit
        self.local = local

    def __getitem__(self, name: str) -> Any:
        if name in self._values:
            return self._values[name]
        if name in self._removed or name not in self._kept:
            raise KeyError(name)
        self._values[name] = value = self._decode(name, self._kept[name])
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        if not 1 <= len(name) <= MAX_KEY or name != clean(name):
            raise SessionStateError(f"a key of user_session is a Unicode string of 1 to {MAX_KEY} characters")
        self._values[name] = value
        self._removed.discard(name)

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._values.pop(name, None)
        self._removed.add(name)

    def __contains__(self, name: object) -> bool:
        return name in self._values or (name in self._kept and name not in self._removed)

    def __iter__(self) -> Iterator[str]:
        names = (self._kept.keys() | self._values.keys()) - self._removed
        return iter(sorted(names))

    def __len__(self) -> int:
        return len((self._kept.keys() | self._values.keys()) - self._removed)

    def changes(self) -> dict[str, bytes | None]:
        """What differs from the store: encoded values, None for removed ones.

        Raises: SessionStateError if the state would be over its limit.
        """
        changed: dict[str, bytes | None] = {n: None for n in self._removed if n in self._kept}
        for name, value in self._values.items():
            encoded = self._encode(name, value)
            if encoded != self._kept.get(name):
                changed[name] = encoded
        if changed:
            after = {**self._kept, **{n: v or b"" for n, v in changed.items()}}
            size = sum(len(n) + len(v) for n, v in after.items())
            if size > self._limit:
                raise SessionStateError(
                    f"user_session would take {size} bytes, more than the {self._limit} of PARLEY_STATE_BYTES:"
                    " keep large values elsewhere and their key here"
                )
        return changed

    def committed(self, changes: Mapping[str, bytes | None]) -> None:
        """Take note that the store has these changes."""
        for name, value in changes.items():
            if value is None:
                self._kept.pop(name, None)
                self.local.pop(name, None)
                self._removed.discard(name)
            else:
                self._kept[name] = value

    def rollback(self) -> None:
        """Forget what was not committed."""
        self._values.clear()
        self._removed.clear()

    def _encode(self, name: str, value: Any) -> bytes:
        try:
            if isinstance(value, BaseModel):
                return _MODEL + f"{type(value).__module__}:{type(value).__qualname__}\n".encode() + _dump(value)
            encoded = orjson.dumps(value, option=orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATETIME)
            self.local.pop(name, None)
        except (TypeError, ValueError):
            if name not in self.local:
                log.warning(
                    "state_kept_on_this_worker_only", session=self._session, key=name, type=type(value).__name__
                )
            self.local[name] = value
            return _LOCAL
        return _JSON + encoded

    def _decode(self, name: str, kept: bytes) -> Any:
        kind, body = kept[:1], kept[1:]
        if kind == _LOCAL:
            if name in self.local:
                return self.local[name]
            raise SessionStateError(
                f"user_session[{name!r}] was on another worker, or on this one before it started anew:"
                " make it again in @on_chat_resume"
            )
        if kind == _MODEL:
            path, _, data = body.partition(b"\n")
            return _model(path.decode()).model_validate_json(data)
        return orjson.loads(body)


def _dump(value: BaseModel) -> bytes:
    return value.model_dump_json().encode()


def _model(path: str) -> type[BaseModel]:
    """A model class among the loaded modules; nothing is imported because of what the store says."""
    module, _, name = path.partition(":")
    found: Any = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, BaseModel)):
        raise SessionStateError(f"user_session holds a {path}, which is not a pydantic model of this server any more")
    return found
