"""Every Redis key: its name, its type and how long it lives.

| key              | type   | content                                                            | lives          |
| ---------------- | ------ | ------------------------------------------------------------------ | -------------- |
| `{P}:m:S`        | hash   | user, agent, profile, head, counters, owner, lease, run, floor     | session + 1 d  |
| `{P}:i:S`        | stream | inputs that are not done, by index                                 | session + 1 d  |
| `{P}:e:S`        | stream | the log: one entry an append, under the seq of its last event      | session + 1 d  |
| `{P}:d:S`        | hash   | client -> last n; client/n -> index, checksum, turn;               | session + 1 d  |
|                  |        | idem/key -> expiry, checksum, index, turn or message of a push     |                |
| `{P}:u:S`        | hash   | the session state, a field a key                                   | session + 1 d  |
| `{P}:x:S`        | string | the snapshot at the floor                                          | session + 1 d  |
| `{P}:f:S`        | hash   | file -> JSON of name, type and bytes; `#bytes` -> of all together  | session + 1 d  |
| `{P}:l:S`        | set    | workers that hold sockets of the session                           | session + 1 d  |
| `{P}:w`          | zset   | worker -> lease deadline, ms of Redis time                         | for good       |
| `{P}:due`        | zset   | session -> when to look at it, ms of Redis time                    | for good       |
| `{P}:gone`       | set    | ended sessions whose files are not yet deleted                     | for good       |
| `{u:U}:s`        | zset   | a user's sessions by creation, ms of Redis time                    | pruned lazily  |
| `parley:w:W`     | channel| what worker W should know                                          |                |

`{P}` is `{p000}` to `{p127}` by the CRC of the session id, so that all keys of a session and the indexes of
its partition share one slot of a Redis Cluster. A script is therefore given the meta key alone and derives
the others from it.
"""

from __future__ import annotations

from binascii import crc32
from functools import lru_cache

PARTITIONS = 128

FILE_BYTES = "#bytes"
"""The field of a session's files that is none."""


def partition(session: str) -> int:
    """The partition of a session, 0 to 127."""
    return crc32(session.encode()) % PARTITIONS


def tag(number: int) -> str:
    """The hash tag of a partition."""
    return f"{{p{number:03d}}}"


@lru_cache(maxsize=16_384)
def meta(session: str) -> str:
    """The session's meta hash, from which scripts derive its other keys."""
    return f"{tag(partition(session))}:m:{session}"


def inputs(session: str) -> str:
    """The session's inbox."""
    return f"{tag(partition(session))}:i:{session}"


def numbers(session: str) -> str:
    """The last numbers of the session's clients."""
    return f"{tag(partition(session))}:d:{session}"


def snapshot(session: str) -> str:
    """The session's snapshot."""
    return f"{tag(partition(session))}:x:{session}"


def files(session: str) -> str:
    """What is known of the session's files."""
    return f"{tag(partition(session))}:f:{session}"


def listeners(session: str) -> str:
    """The workers that hold sockets of the session."""
    return f"{tag(partition(session))}:l:{session}"


def due(number: int) -> str:
    """What is to be looked at in a partition, from which the scan script derives the partition's workers."""
    return f"{tag(number)}:due"


def gone(number: int) -> str:
    """The ended sessions of a partition whose files are not yet deleted."""
    return f"{tag(number)}:gone"


def workers(number: int) -> str:
    """The workers that own sessions in a partition."""
    return f"{tag(number)}:w"


def user_sessions(user: str) -> str:
    """The sessions of a user."""
    return f"{{u:{user}}}:s"


def channel(worker: str) -> str:
    """The channel of a worker."""
    return f"parley:w:{worker}"
