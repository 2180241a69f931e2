"""Servers with one fault planted in each: what the chaos suite must catch, or it catches nothing.

`python -m tests.chaos.mutants NAME serve …` is `parley serve …` with the fault in it, in all its worker processes.
"""

from __future__ import annotations

import dataclasses
import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha1
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

APP = Path(__file__).parents[2] / "app"
VARIABLE = "CHAOS_MUTANT"
"""Tells worker processes which fault is theirs."""


class MutantDeadError(Exception):
    """The text that a fault was to be planted into is not there any more, or not once: adapt the mutant."""


@dataclass(frozen=True)
class Patch:
    """`new` in place of `old`, which a file of `app/` holds exactly once."""

    file: str
    old: str
    new: str

    def applied(self, text: str) -> str:
        """The text with the fault. Raises: MutantDeadError."""
        if (times := text.count(self.old)) != 1:
            raise MutantDeadError(f"app/{self.file} has {times} times, not once:\n{self.old}")
        return text.replace(self.old, self.new)


@dataclass(frozen=True)
class Mutant:
    """A fault, the schedule that shows it, and the rule of the checker that reports it then.

    `tests.chaos.scenarios` has the schedule as a function.
    """

    schedule: str
    rule: str
    patches: tuple[Patch, ...]


PAUSE = "__import__('asyncio').sleep(0.3)"
"""Makes a fault's window wide enough for a random kill to fall into it."""

MUTANTS: dict[str, Mutant] = {
    # To leave out the comparison alone changes no history: the position would refuse the same appends. What the mark
    # keeps away is a store that numbers events itself and takes them from whoever comes.
    "no_mark_check": Mutant(
        "SIGSTOP an owner in mid-stream past its lease; SIGCONT when another has begun the next attempt: both write",
        "marks_never_return",
        (
            Patch(
                "store/scripts/append.lua",
                "if m[1] ~= mark then return { 'fenced' } end\n",
                "local behind = m[1] ~= mark and tonumber(m[2]) - tonumber(expected) or 0\n"
                "expected = tostring(expected + behind)\n",
            ),
            Patch(
                "store/scripts/append.lua",
                "local first, last, frame = arg(), arg(), arg()\n",
                "local first, last, frame = arg(), arg(), arg()\n"
                "  first, last = string.format('%d', first + behind), string.format('%d', last + behind)\n"
                "  frame = string.gsub(frame, '\"seq\":%d+', '\"seq\":' .. first, 1)\n",
            ),
        ),
    ),
    "no_position_check": Mutant(
        "SIGKILL the store in mid-stream, cut its file behind the claim, start it: the owner goes on beyond a hole",
        "gapless",
        (Patch("store/scripts/append.lua", "if m[2] ~= expected then", "if false then"),),
    ),
    "resume_by_seq_alone": Mutant(
        "a client leaves in mid-stream; the store loses the tail that it saw; the next attempt writes beyond its"
        " position; it comes back and is told nothing of what took the place of what it has",
        "tabs_have_what_is_stored",
        (
            Patch("store/scripts/read.lua", "if seq == floor and mark ~= m[6] then", "if false then"),
            Patch("store/scripts/read.lua", "if i == 1 and seq > floor and fields[4] ~= mark then", "if false then"),
        ),
    ),
    # A retry of the library's is for the store a new append: it has no name under which it is known.
    "default_retries": Mutant(
        "drop replies to an owner in mid-stream: what ran is refused when it comes again, and there is an attempt 2"
        " though no worker died; dropped at the turn's end, the owner's sockets never hear of the end",
        "no_needless_attempt",
        (
            Patch(
                "store/scripts/append.lua",
                "if m[3] == batch .. ' idle' or m[3] == batch .. ' held' then",
                "if false then",
            ),
        ),
    ),
    "ack_before_accept": Mutant(
        "stall a worker's way to the store, send it an input, SIGKILL it: `welcome.acked` is below an acknowledged n",
        "what_was_acknowledged_is_kept",
        (
            Patch(
                "gateway/intake.py",
                "            return self._site.store.accept(",
                "            self._put(codec.encode_ack(new.n, queued=0, duplicate=False, index=None, turn=new.turn))\n"
                "            return self._site.store.accept(",
            ),
            Patch("gateway/intake.py", "        put(ack)\n", ""),
        ),
    ),
    "subscribe_after_attach": Mutant(
        "delay a worker's way to the store, have a tab attach there while the turn ends at another one: it waits for"
        " an end of which nobody told it",
        "done_in_time",
        (
            Patch("store/scripts/read.lua", "redis.call('SADD', key('l'), worker)", ""),
            Patch(
                "store/redis.py",
                "        return replies.attachment(session, reply)",
                "        await __import__('asyncio').sleep(1)\n"
                '        await self._run("listen", session, (self.worker, "1"), within=PATIENCE)\n'
                "        return replies.attachment(session, reply)",
            ),
        ),
    ),
    "no_gap_repair": Mutant(
        "reset the subscriber connection of a worker whose tab follows a turn at another one: the tab misses events",
        "gapless",
        (
            Patch(
                "gateway/follow.py", "entry.first == self.position.seq + 1 and", "entry.first > self.position.seq and"
            ),
            Patch("gateway/follow.py", "if entry.first > self.position.seq + 1:", "if False:"),
            Patch(
                "store/redis.py",
                "        self.listeners.look(session)\n"
                '        await self._run("listen", session, (self.worker, "1"))\n'
                "        self.listeners.look(session)\n",
                '        await self._run("listen", session, (self.worker, "1"))\n',
            ),
        ),
    ),
    "socket_before_append": Mutant(
        "stall an owner's way to the store in mid-stream until another has taken over: its tab has an event that is"
        " not in the log, and is told so by a reset though the store lost nothing",
        "no_needless_reset",
        (
            Patch(
                "store/owner.py",
                '        reply = await self._run("append", claim.session, self._append_args(claim, expected, batch))\n'
                "        for entry in batch.entries:\n"
                "            self.listeners.deliver(claim.session, entry)\n",
                "        for entry in batch.entries:\n"
                "            self.listeners.deliver(claim.session, entry)\n"
                '        reply = await self._run("append", claim.session, self._append_args(claim, expected, batch))\n',
            ),
        ),
    ),
    "state_before_last_event": Mutant(
        "SIGKILL an owner as soon as the store has the turn's state: the next attempt begins with what the first left",
        "each_turn_is_in_the_state_once",
        (
            Patch(
                "runtime/turn.py",
                "        self.finish(outcome)\n        self._task = None",
                "        await self._emitter.commit(Batch(state=self.changes))\n"
                f"        await {PAUSE}\n"
                "        self.finish(outcome)\n        self._task = None",
            ),
        ),
    ),
}


def faulty(mutant: Mutant) -> dict[str, str]:
    """The files with the fault, by their names in `app/`. Raises: MutantDeadError."""
    texts: dict[str, str] = {}
    for patch in mutant.patches:
        texts[patch.file] = patch.applied(texts.get(patch.file) or (APP / patch.file).read_text())
    return texts


def plant(mutant: Mutant) -> None:
    """Have `app` imported with the fault in it. Raises: MutantDeadError."""
    assert "app" not in sys.modules, "too late: app is imported"
    texts = faulty(mutant)
    sys.meta_path.insert(0, _Finder({file: text for file, text in texts.items() if file.endswith(".py")}))
    owner = importlib.import_module("app.store.owner")
    scripts = {Path(file).stem: text for file, text in texts.items() if file.endswith(".lua")}
    owner.load_scripts = _planted(owner.load_scripts, scripts)  # type: ignore[attr-defined]  # this module's own name


def _planted(load: Callable[..., dict[str, Any]], texts: dict[str, str]) -> Callable[..., dict[str, Any]]:
    def load_scripts(names: Sequence[str]) -> dict[str, Any]:
        scripts = load(names)
        for name, text in texts.items():
            whole = scripts[name].text.replace((APP / f"store/scripts/{name}.lua").read_text().partition("\n")[2], "")
            whole += text.partition("\n")[2]
            digest = sha1(whole.encode(), usedforsecurity=False).hexdigest()
            scripts[name] = dataclasses.replace(scripts[name], text=whole, sha=digest)
        return scripts

    return load_scripts


class _Finder(importlib.abc.MetaPathFinder):
    """Finds the modules that have a fault."""

    def __init__(self, texts: dict[str, str]) -> None:
        self._texts = {
            f"app.{file.removesuffix('.py').replace('/', '.')}": (file, text) for file, text in texts.items()
        }

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if name not in self._texts:
            return None
        file, text = self._texts[name]
        return importlib.util.spec_from_loader(name, _Loader(name, str(APP / file), text))


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from a text of its own, and never from what was compiled of the file."""

    def __init__(self, name: str, path: str, text: str) -> None:
        super().__init__(name, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        code: CodeType = compile(self._text, self.path, "exec", dont_inherit=True)
        return code


if __name__ == "__main__":
    os.environ[VARIABLE] = sys.argv.pop(1)
    plant(MUTANTS[os.environ[VARIABLE]])
    importlib.import_module("app.cli").main()
elif __name__ == "__mp_main__":  # a worker process of `serve --workers N`
    plant(MUTANTS[os.environ[VARIABLE]])
