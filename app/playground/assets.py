"""The files of the page, read once, with what has to be said about each over HTTP."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

STATIC = Path(__file__).parent / "static"

INDEX = "index.html"
"""The name of the page itself."""

MANUAL = "manual.html"
"""The page that shows documentation; `{root}` in it leads to the page itself, `{pages}` is a list of links."""

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""What a file is, by the end of its name. Browsers are told not to guess, so every file needs one of these."""


class Asset(NamedTuple):
    """One file of the page."""

    body: bytes
    media_type: str
    etag: str
    """A strong validator (RFC 9110, section 8.8.3): another body has another one."""


def load() -> dict[str, Asset]:
    """Every file by its path below `static/`, with `/` between folders. Raises: KeyError for an unknown type."""
    return {path.relative_to(STATIC).as_posix(): _read(path) for path in STATIC.rglob("*") if path.is_file()}


def make(body: bytes, media_type: str) -> Asset:
    """A file that is not below `static/`."""
    return Asset(body, media_type, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


def _read(path: Path) -> Asset:
    return make(path.read_bytes(), MEDIA_TYPES[path.suffix])
