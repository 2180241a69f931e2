"""Every setting and every limit of a server, from `PARLEY_*` variables, `.env` and the command line."""

from __future__ import annotations

import os
import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from app.errors import ConfigError


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""A comma-separated list of names."""


def _patterns(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not re.fullmatch(r"[\w.+*-]+/[\w.+*-]+", name):
            raise ValueError(f"{name} is no type: write image/png, image/* or */*")
    return names


Patterns = Annotated[Names, AfterValidator(_patterns)]
"""A comma-separated list of MIME types, in which `*` stands for anything."""

DEFAULT_FILE_TYPES = (
    "text/*",
    "image/*",
    "audio/*",
    "video/*",
    "application/json",
    "application/ogg",
    "application/pdf",
    "application/yaml",
    "application/vnd.oasis.opendocument.*",
    "application/vnd.openxmlformats-officedocument.*",
)
"""What people attach to a message. Archives and programs are not among it."""

Seconds = Annotated[float, Field(gt=0, le=31_536_000)]
"""A duration in seconds, at most a year."""


SHORTEST_SECRET = 32
"""Bytes of a secret for HS256 (RFC 7518, section 3.2)."""


class Settings(BaseSettings):
    """What a server may be told. Sizes are bytes, durations seconds, unless the name says otherwise."""

    model_config = SettingsConfigDict(
        env_prefix="PARLEY_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,
    )

    redis_url: SecretStr | None = Field(default=None, validation_alias="REDIS_URL")
    """The store: `redis://`, `rediss://` or `unix://`. Without it a private Valkey is started in `data_dir`."""
    host: str = "127.0.0.1"
    """The address to listen on. Anything but loopback needs authentication or `allow_anonymous`."""
    port: int = Field(default=8000, ge=0, le=65535)
    """The port to listen on; 0 takes a free one."""
    workers: int = Field(default=1, ge=1, le=256)
    """How many worker processes serve this port."""
    handlers: Path = Path("handlers")
    """The folder whose modules are the agents."""
    data_dir: Path = Path(".parley")
    """Where the private Valkey keeps its data, and files are kept unless `files_url` says otherwise."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """`auto` is console in a terminal and JSON otherwise."""
    default_agent: str | None = None
    """The agent a session is made for when `hello` names none; else the only one, or the first by name."""
    show_errors: bool = False
    """Whether a client sees the text of an exception raised by a handler."""

    allow_anonymous: bool = False
    """Whether users may come without a token on an address that is not loopback."""
    allowed_origins: Names = ()
    """Origins of pages that may connect besides the server's own; `*` allows every one."""
    allowed_hosts: Names = ()
    """`Host` names this server answers to besides its own address; `*` allows every one."""
    auth_jwt_secret: SecretStr | None = None
    """The HS256 secret of bearer tokens, 32 bytes or more. With it every connection needs a token."""
    auth_jwks: str | None = None
    """The address of a key set for RS256 or ES256 bearer tokens."""
    auth_issuer: str | None = None
    """The `iss` a token must carry."""
    auth_audience: str | None = None
    """The `aud` a token must carry."""
    push_key: SecretStr | None = None
    """The bearer that may push a message to any session."""

    max_frame_bytes: int = Field(default=262_144, ge=1_024, le=16_777_216)
    """The largest frame a client may send; a larger one closes its socket with 1009."""
    max_frames_per_second: int = Field(default=200, ge=1, le=1_000_000)
    """Frames a connection may send a second, averaged over ten; more closes its socket with 4429."""
    max_connections: int = Field(default=20_000, ge=1)
    """Sockets of one worker; past it new ones are closed with 1013."""
    max_connections_per_address: int = Field(default=0, ge=0)
    """Sockets of one client address on one worker; 0 is no limit. Behind a proxy it counts the proxy."""
    max_sessions_per_user: int = Field(default=1_000, ge=1)
    """Living sessions of one signed-in user."""
    inbox_size: int = Field(default=64, ge=1, le=10_000)
    """Inputs of a session that are accepted and not done."""
    inbox_bytes: int = Field(default=4_194_304, ge=1_024)
    """Their bytes together."""
    outbox_bytes: int = Field(default=1_048_576, ge=65_536)
    """Bytes waiting for one socket; half of it for what is new, which then comes from the log as fast as it is read."""
    send_timeout: Seconds = 10
    """How long one send to a socket may take before it is closed with 4431."""
    log_events: int = Field(default=5_000, ge=100)
    """Events of a session kept for replay; older ones are folded into its snapshot."""
    log_bytes: int = Field(default=8_388_608, ge=1_048_576)
    """Bytes of a session's log kept for replay."""
    state_bytes: int = Field(default=1_048_576, ge=1_024)
    """Bytes of a session's state (`user_session`), as JSON."""
    files_url: str | None = None
    """Where files are kept, as fsspec writes it: `s3://bucket/prefix`, …; `files/` in `data_dir` if absent."""
    max_file_bytes: int = Field(default=10_485_760, ge=1_024)
    """The largest file that a user may upload or an agent show."""
    max_files_per_session: int = Field(default=100, ge=0, le=10_000)
    """Files of one session; 0 allows none."""
    max_files_bytes_per_session: int = Field(default=104_857_600, ge=1_024)
    """Their bytes together."""
    allowed_file_types: Patterns = DEFAULT_FILE_TYPES
    """Types of files that a user may upload, found by their content; `*/*` allows every one."""
    session_ttl: Seconds = 604_800
    """How long a session nobody uses is kept."""
    empty_session_ttl: Seconds = 600
    """How long a session that never had an input is kept."""
    hello_timeout: Seconds = 10
    """How long a new socket may wait with its `hello`."""
    idle_timeout: Seconds = 120
    """How long a socket may be without an answer to the server's pings."""

    executor_threads: int = Field(default=min(32, (os.cpu_count() or 1) + 4), ge=1, le=1_000)
    """Threads for synchronous work, per worker."""
    executor_queue: int = Field(default=1_000, ge=0)
    """Calls that may wait for a thread."""
    executor_slow_after: Seconds = 10
    """After how long an abandoned call that still holds its thread is logged."""
    lease_ttl: Seconds = 6
    """How long a silent worker keeps its sessions."""
    drain_timeout: float = Field(default=10, ge=0, le=3_600)
    """How long a stopping worker lets its turns run before it hands them over."""
    turn_timeout: Seconds = 3_600
    """How long a turn may take, unless its handler says otherwise."""
    turn_max_attempts: int = Field(default=5, ge=1, le=100)
    """How many workers may die in a turn before it is given up as poisoned."""
    delta_window_ms: int = Field(default=25, ge=0, le=1_000)
    """Over how many milliseconds streamed tokens are joined after the first one."""

    @property
    def loopback(self) -> bool:
        """Whether `host` can be reached from this machine only."""
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def authenticates(self) -> bool:
        """Whether connections need a token."""
        return self.auth_jwt_secret is not None or self.auth_jwks is not None

    def check(self) -> None:
        """Refuse what no single field shows. Raises: ConfigError."""
        secret = self.auth_jwt_secret
        if secret is not None and len(secret.get_secret_value().encode()) < SHORTEST_SECRET:
            raise ConfigError(
                f"PARLEY_AUTH_JWT_SECRET is shorter than {SHORTEST_SECRET} bytes: take `openssl rand -hex 32`"
            )
        if self.auth_jwks is not None:
            raise ConfigError("PARLEY_AUTH_JWKS: key sets are not supported yet: set PARLEY_AUTH_JWT_SECRET")
        if not (self.loopback or self.authenticates or self.allow_anonymous):
            raise ConfigError(
                f"PARLEY_HOST {self.host} is not loopback and nobody has to sign in:"
                " set PARLEY_AUTH_JWT_SECRET, or PARLEY_ALLOW_ANONYMOUS=1 to let everyone in"
            )


def load(**flags: object) -> Settings:
    """The settings of this process; `flags` that are not None win over the environment. Raises: ConfigError."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings(**given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        raise ConfigError(_in_words(error)) from None
    settings.check()
    return settings


def _in_words(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    name = ".".join(str(part) for part in first["loc"]) or "settings"
    variable = name if name == "REDIS_URL" else f"PARLEY_{name.upper()}"
    return f"{variable}: {first['msg']}"
