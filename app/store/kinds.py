"""Tells a file's type by its content, as browsers do; its name only chooses among the types of text."""

from __future__ import annotations

import codecs
import re
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

UNKNOWN = "application/octet-stream"
"""The type of what is not known."""

HEAD = 1_445
"""Bytes at a file's start that are looked at: those that the MIME Sniffing Standard, section 5.2, reads."""

TAIL = 65_536
"""Bytes at a file's end that are looked at: where a ZIP archive lists what is in it."""

_STARTS: tuple[tuple[bytes, str], ...] = (
    (rb"%PDF-", "application/pdf"),
    (rb"\x89PNG\r\n\x1a\n", "image/png"),
    (rb"\xff\xd8\xff", "image/jpeg"),
    (rb"GIF8[79]a", "image/gif"),
    (rb"RIFF....WEBPVP", "image/webp"),
    (rb"BM", "image/bmp"),
    (rb"\0\0[\x01\x02]\0", "image/x-icon"),
    (rb"II\*\0|MM\0\*", "image/tiff"),
    (rb"....ftyp(avif|avis)", "image/avif"),
    (rb"....ftyp(heic|heix|mif1|msf1)", "image/heic"),
    (rb"....ftypM4A ", "audio/mp4"),
    (rb"....ftypqt  ", "video/quicktime"),
    (rb"....ftyp", "video/mp4"),
    (rb"\x1aE\xdf\xa3.{0,64}webm", "video/webm"),
    (rb"\x1aE\xdf\xa3", "video/x-matroska"),
    (rb"RIFF....AVI ", "video/avi"),
    (rb"RIFF....WAVE", "audio/wave"),
    (rb"FORM....AIFF", "audio/aiff"),
    (rb"ID3|\xff[\xf2\xf3\xfa\xfb]", "audio/mpeg"),
    (rb"fLaC", "audio/flac"),
    (rb"OggS\0", "application/ogg"),
    (rb"MThd\0\0\0\x06", "audio/midi"),
    (rb"PK\x03\x04|PK\x05\x06", "application/zip"),
    (rb"\x1f\x8b\x08", "application/gzip"),
    (rb"Rar!\x1a\x07", "application/vnd.rar"),
    (rb"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (rb"PAR1", "application/vnd.apache.parquet"),
    (rb"SQLite format 3\0", "application/vnd.sqlite3"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
)
"""How binary files begin: the MIME Sniffing Standard, sections 6.1 to 6.4, and a few that agents are given."""

_SIGNATURES = tuple((re.compile(start, re.DOTALL), kind) for start, kind in _STARTS)

_OPEN_DOCUMENT = re.compile(rb"PK\x03\x04.{26}mimetype(application/(?:vnd\.oasis\.[a-z.-]+|epub\+zip))", re.DOTALL)
"""An OpenDocument file (part 2, section 3.3) or an EPUB: a ZIP archive that begins with its own type."""

_OFFICE = "application/vnd.openxmlformats-officedocument."
_IN_ZIP = {
    b"word/document.xml": _OFFICE + "wordprocessingml.document",
    b"xl/workbook.xml": _OFFICE + "spreadsheetml.sheet",
    b"ppt/presentation.xml": _OFFICE + "presentationml.presentation",
}
"""What the directory of a ZIP archive lists if it is an office document (ECMA-376, part 2)."""

_TEXTS = {
    ".csv": "text/csv",
    ".htm": "text/html",
    ".html": "text/html",
    ".json": "application/json",
    ".md": "text/markdown",
    ".svg": "image/svg+xml",
    ".tsv": "text/tab-separated-values",
    ".xhtml": "text/html",
    ".xml": "text/xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
}
"""The types of text that only a name tells; every other text is text/plain."""

_MARKUP = re.compile(rb"\s*<(?:[a-z!?/])", re.IGNORECASE)
_SVG = re.compile(rb"<(?:\w+:)?svg[\s>/]", re.IGNORECASE)
_HTML = re.compile(
    rb"<(?:!doctype html|html|head|body|script|iframe|h1|div|font|table|a|style|title|b|br|p)[\s>]", re.IGNORECASE
)
"""The tags by which the MIME Sniffing Standard, section 7.1, knows HTML."""

_CONTROLS = bytes(set(range(32)) - set(b"\t\n\f\r\x1b")) + b"\x7f"
"""Bytes that no text holds: the binary data bytes of the MIME Sniffing Standard, section 3, and DEL."""


class Look:
    """Looks at a file's bytes as they pass, and keeps none but the first and the last."""

    def __init__(self) -> None:
        self._head = b""
        self._tail = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._is_text = True

    def feed(self, data: bytes) -> None:
        """Look at the next bytes."""
        self._head += data[: HEAD - len(self._head)]
        self._tail = (self._tail + data[-TAIL:])[-TAIL:]
        self._is_text = self._is_text and data.translate(None, _CONTROLS) == data and self._decodes(data)

    def kind(self, name: str) -> str:
        """The type of all that was fed, as a MIME type; `name` is what the file is called. The last call."""
        kind = self._binary()
        # a text may begin with the few letters that are an image's mark; a PDF may be all text
        if kind == "application/pdf" or not (self._is_text and self._decodes(b"", final=True)):
            return kind
        return self._text(name)

    def _decodes(self, data: bytes, *, final: bool = False) -> bool:
        try:
            self._decoder.decode(data, final)
        except UnicodeDecodeError:
            return False
        return True

    def _binary(self) -> str:
        kind = next((kind for start, kind in _SIGNATURES if start.match(self._head)), UNKNOWN)
        if kind != "application/zip":
            return kind
        if own := _OPEN_DOCUMENT.match(self._head):
            return own[1].decode()
        return next((office for part, office in _IN_ZIP.items() if part in self._tail), kind)

    def _text(self, name: str) -> str:
        head = self._head.removeprefix(codecs.BOM_UTF8)
        if _MARKUP.match(head):
            if _SVG.search(head):
                return "image/svg+xml"
            if _HTML.search(head):
                return "text/html"
        return _TEXTS.get(PurePosixPath(name.lower()).suffix, "text/plain")


def is_allowed(kind: str, patterns: tuple[str, ...]) -> bool:
    """Whether a type matches one of such patterns as `image/*`."""
    return any(fnmatchcase(kind, pattern.lower()) for pattern in patterns)
