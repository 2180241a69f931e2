"""Whether a store can be used at all, found out before a server starts."""

from __future__ import annotations

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError, ResponseError
from redis.retry import Retry

from app.errors import ConfigError

OLDEST = (7, 0)
"""The first Redis whose scripts can be told apart by flags; every Valkey has them."""

PATIENCE = 5.0
"""Seconds to connect, and to wait for each answer."""


def check_store(url: str) -> None:
    """Connect once and look at the store's version and policy. Raises: ConfigError in one line naming REDIS_URL."""
    try:
        client = Redis.from_url(
            url, protocol=2, socket_timeout=PATIENCE, socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0)
        )
    except ValueError as error:
        raise ConfigError(f"REDIS_URL: {error}") from None
    try:
        with client:
            info = client.info()
    except (AuthenticationError, ResponseError) as error:
        raise ConfigError(f"REDIS_URL: the store refuses the user or password: {error}") from None
    except (RedisError, OSError) as error:
        raise ConfigError(f"REDIS_URL: cannot reach the store: {error}") from None
    _check_version(str(info["redis_version"]))
    policy = info["maxmemory_policy"]
    if policy != "noeviction":
        raise ConfigError(
            f"REDIS_URL: the store's maxmemory-policy is {policy}, so it may drop conversations: set it to noeviction"
        )


def _check_version(version: str) -> None:
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise ConfigError(f"REDIS_URL: the store is Redis {version}; 7.0 or later, or Valkey, is needed")
