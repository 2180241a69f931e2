"""What the chaos suite's agent makes of each input: a pure function of session, input and place in it.

The agent says it, the tabs and the history checker expect it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Literal, NamedTuple, get_args

Kind = Literal["stream", "thread", "sends", "ask", "wait", "steps", "state", "fail", "flood"]
KINDS: tuple[Kind, ...] = get_args(Kind)

ASKING = frozenset({"ask", "wait"})
"""The kinds that ask."""

START = "start"
"""The nonce of `on_chat_start`, which a session begins with; no client sends it."""

PIECE = 16_384
"""Characters of one piece of a flood."""

PACE = 0.02
"""Seconds between two words."""

PATIENCE = 1.0
"""Seconds that `wait` waits for an answer which nobody gives."""


class Input(NamedTuple):
    """What a message of a tab says. `nonce` is in no other message, `size` counts words, sends, steps or pieces."""

    kind: Kind
    nonce: str
    size: int = 1

    @property
    def content(self) -> str:
        """The message's content."""
        return f"{self.kind} {self.nonce} {self.size}"

    @classmethod
    def of(cls, content: str) -> Input:
        """The input that a content is. Raises: ValueError."""
        kind, nonce, size = content.split(" ")
        if kind not in KINDS:
            raise ValueError(f"no such kind: {content}")
        return cls(kind, nonce, int(size))


def word(session: str, nonce: str, k: int) -> str:
    """The k-th word of what an input makes, from 0."""
    return blake2b(f"{session} {nonce} {k}".encode(), digest_size=4).hexdigest() + " "


def piece(session: str, nonce: str, k: int) -> str:
    """The k-th piece of a flood."""
    return word(session, nonce, k) * (PIECE // 9)


def prompt(session: str, nonce: str) -> str:
    """What an `ask` asks, and a `wait`."""
    return f"what of {word(session, nonce, 0).strip()}?"


def answer(session: str, nonce: str, tab: str) -> str:
    """What a tab answers."""
    return f"{word(session, nonce, 0)}from {tab}"


def heard(session: str, nonce: str, given: str | None) -> str:
    """What is said when the ask has ended, `given` None if nobody answered or somebody declined."""
    return f"{word(session, nonce, 1)}{'nothing' if given is None else given}"


@dataclass(frozen=True)
class Expected:
    """What the last attempt of an input's turn shows, if it is not cancelled.

    `texts` are the agent's messages in order; of an ask, those up to its answer: one more follows, which is what
    `heard` says of the answer. `fails` says that the turn ends with `handler_error`, `steps` are the results of
    durable steps in order, whatever attempt made them, and `shared` whether the nonce is added to the shared state.
    """

    texts: list[str]
    asks: bool = False
    fails: bool = False
    shared: bool = False
    steps: list[str] = field(default_factory=list)


def expected(session: str, given: Input) -> Expected:
    """What an input makes in a session."""
    nonce, size = given.nonce, given.size
    words = [word(session, nonce, k) for k in range(size)]
    match given.kind:
        case "ask" | "wait":
            words = [prompt(session, nonce)]
        case "stream" | "thread" | "fail" | "steps":
            words = ["".join(words)]
        case "state":
            words = words[:1]
        case "flood":
            words = ["".join(piece(session, nonce, k) for k in range(size))]
    steps = [word(session, nonce, k) for k in range(size)] if given.kind == "steps" else []
    kind = given.kind
    return Expected(words, asks=kind in ASKING, fails=kind == "fail", shared=kind == "state", steps=steps)


def greeting(session: str) -> str:
    """What `on_chat_start` says."""
    return word(session, START, 0)
