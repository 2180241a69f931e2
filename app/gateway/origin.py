"""By which address a client came and from which page: a page elsewhere must not use a visitor's access."""

from __future__ import annotations

from ipaddress import ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from app.settings import Settings

_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class _Address(NamedTuple):
    name: str
    port: int | None


class OriginPolicy:
    """Checks `Host` and `Origin` of a handshake.

    `Host` must be this server's own, which stops a page that has its own name resolve to this address (DNS
    rebinding): a name in `allowed_hosts`, the address it is bound to, or any loopback name if that is loopback.
    Bound to more than loopback and with `allowed_hosts` empty every `Host` passes, since the names of a public
    server are not known here; access is then a matter of tokens. `Origin` is what browsers send, and only they
    (RFC 6455, section 10.2): absent is fine, present it must be the same host and port as `Host`, or be in
    `allowed_origins` as `scheme://host[:port]`.
    """

    def __init__(self, settings: Settings) -> None:
        self._loopback = settings.loopback
        self._hosts = {host.lower() for host in settings.allowed_hosts}
        self._any_host = "*" in self._hosts or not (self._hosts or self._loopback)
        self._bound = settings.host.lower()
        self._origins = {origin.lower().rstrip("/") for origin in settings.allowed_origins}

    def refusal(self, host: str | None, origin: str | None) -> str:
        """Why a handshake with these headers is refused; empty if it is not."""
        address = _split(f"//{host}") if host else None
        if address is None or not self._is_own(address):
            return f"host {host or '(none)'} is not this server's: allow it with PARLEY_ALLOWED_HOSTS"
        if origin is not None and not self._is_welcome(origin, address):
            return f"origin {origin} may not connect: allow it with PARLEY_ALLOWED_ORIGINS"
        return ""

    def _is_own(self, host: _Address) -> bool:
        if self._any_host or host.name in {self._bound, *self._hosts}:
            return True
        return f"{_bracketed(host.name)}:{host.port}" in self._hosts or (self._loopback and _is_loopback(host.name))

    def _is_welcome(self, origin: str, host: _Address) -> bool:
        if "*" in self._origins or origin.lower() in self._origins:
            return True
        # Behind a proxy that ends TLS our own scheme is not the page's, so the page's tells the default port.
        default = _DEFAULT_PORTS.get(urlsplit(origin).scheme) if (page := _split(origin)) else None
        return page is not None and page.name == host.name and (page.port or default) == (host.port or default)


def _split(url: str) -> _Address | None:
    try:
        parts: SplitResult = urlsplit(url)
        return _Address(parts.hostname, parts.port) if parts.hostname and not parts.username else None
    except ValueError:
        return None


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _is_loopback(name: str) -> bool:
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
