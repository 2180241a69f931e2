"""File names: what is left of one that came from outside, and how it is written in a header."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from urllib.parse import quote

MAX_FILE_NAME = 255
"""Characters of a file's name."""

MAX_SUFFIX = 32
"""Characters of a suffix that is kept when a name is cut."""

_RESERVED = re.compile(r'[<>:"|?*]')
"""What some systems do not let a name hold."""

_PLAIN = re.compile(r"[^ -~]|[\"\\%]")
"""What does not stand for itself in a quoted `filename` (RFC 6266, appendix D)."""

_AS_IT_IS = "!#$&+-.^_`|~"
"""Besides letters and digits, what an extended value holds as it is (RFC 8187, section 3.2.1)."""


def clean_name(name: str) -> str:
    """A name that is one, of 1 to 255 characters: no path, no control or invisible character, in form NFC."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    seen = "".join(c for c in last if unicodedata.category(c)[0] != "C")
    return _cut(_RESERVED.sub("_", seen).strip(". ")) or "file"


def disposition(name: str, *, inline: bool) -> str:
    """A `Content-Disposition` header with this name (RFC 6266)."""
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{_PLAIN.sub('_', name)}\"; filename*=UTF-8''{quote(name, safe=_AS_IT_IS)}"


def _cut(name: str) -> str:
    if len(name) <= MAX_FILE_NAME:
        return name
    suffix = PurePosixPath(name).suffix
    if len(suffix) > MAX_SUFFIX:
        suffix = ""
    return name[: MAX_FILE_NAME - len(suffix)].rstrip(". ") + suffix
