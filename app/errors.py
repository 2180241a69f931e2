"""Every exception Parley raises on purpose.

ParleyError
├── ConfigError            a setting, a handlers folder or a store that cannot be used; one line, for an operator
│   └── HandlersError      an agent module that cannot be loaded; carries its traceback
├── NotOffered             raised by an agent module at import: it is no agent here, for want of a setting
├── ProtocolError          a frame that breaks the protocol; for the client that sent it
├── StoreError
│   ├── StoreUnavailable   the store did not answer in time
│   ├── StoreFull          the store is out of memory and takes nothing new
│   ├── NoSuchSession      no session under this id
│   ├── NotYours           the session is another user's
│   ├── InboxFull          as many inputs of a session wait as are allowed
│   ├── TooManySessions    the user has as many sessions as are allowed
│   ├── NoSuchFile         the session has no file under this id
│   ├── SessionEnded       the session was ended and is not to be resumed
│   ├── Fenced             another owner holds the session now
│   └── Regressed          the log is not where its owner left it: the store lost a tail
├── FileRefused            a file that is too large, of a type that is not allowed, or one too many
├── ExecutorBusy           all threads are taken and the queue is full
├── SessionStateError      a value of the session's state that cannot be kept or is not here
└── OutsideTurn            something that needs a turn was used outside one
"""


class ParleyError(Exception):
    """The root of all errors raised by Parley on purpose."""


class ConfigError(ParleyError):
    """Something an operator has to change; the text is one line naming the setting."""


class HandlersError(ConfigError):
    """An agent module could not be loaded. `detail` holds its traceback, or is empty."""

    def __init__(self, message: str, detail: str = "") -> None:
        super().__init__(message)
        self.detail = detail


class NotOffered(ParleyError):
    """An agent module raises it at import to be left out, and says in a few words what it wants."""


class ProtocolError(ParleyError):
    """A frame that is refused. `code` is for programs, `message` for people, `n` the frame's counter if known."""

    def __init__(self, code: str, message: str, n: int | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.n = n


class StoreError(ParleyError):
    """The root of what the store may answer instead of doing as asked."""


class StoreUnavailable(StoreError):
    """The store did not answer in time; whether the call took effect is not known."""


class StoreFull(StoreError):
    """The store is out of memory: nothing was written."""


class NoSuchSession(StoreError):
    """There is no such session."""


class NotYours(StoreError):
    """The session belongs to another user."""


class InboxFull(StoreError):
    """As many inputs of the session wait as are allowed: nothing was written."""


class TooManySessions(StoreError):
    """The user has as many living sessions as are allowed."""


class NoSuchFile(StoreError):
    """The session has no such file."""


class SessionEnded(StoreError):
    """The session has ended."""


class Fenced(StoreError):
    """The lease is not ours any more: nothing was written."""


class Regressed(StoreError):
    """The log's head is not where this owner left it: nothing was written."""


class FileRefused(ParleyError):
    """A file is not kept. `code` is `too_large`, `type_refused` or `too_many_files`; the text names the limit."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ExecutorBusy(ParleyError):
    """Every executor thread is taken and the queue is full."""


class SessionStateError(ParleyError, KeyError):
    """A value of the session's state cannot be kept, or was kept on another worker only."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class OutsideTurn(ParleyError, RuntimeError):
    """The call needs a running turn and there is none."""
