"""A worker's runtime on a real store, played to without sockets: what a gateway would do, in a few calls."""

from __future__ import annotations

import asyncio
import secrets
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from app.protocol.codec import body_of, checksum, decode
from app.protocol.frames import START
from app.protocol.inputs import AnswerInput, CancelInput, Counted, Durable, EditInput, EndInput, MessageInput
from app.runtime.loading import load
from app.runtime.registry import Registry
from app.runtime.supervisor import Supervisor
from app.settings import Settings
from app.store.base import Accepted, LogEntry, NewInput
from app.store.redis import RedisStore

CLIENT = "client-one"
Frame = dict[str, Any]


def agents(folder: Path, **sources: str) -> Registry:
    """Load agents from their sources; `import app as cl` stands before each."""
    folder.mkdir(exist_ok=True)
    for name, source in sources.items():
        (folder / f"{name}.py").write_text("import asyncio\nimport app as cl\n" + textwrap.dedent(source))
    return load(folder)


class Worker:
    """One worker without a gateway."""

    def __init__(self, url: str, registry: Registry, name: str = "", **settings: Any) -> None:
        self.name = name or secrets.token_hex(4)
        self.settings = Settings(**settings)
        self.store = RedisStore(url, self.settings, self.name)
        self.supervisor = Supervisor(self.store, registry, self.settings, self.name)

    async def start(self) -> None:
        await self.store.start()
        self.supervisor.start()

    async def stop(self) -> None:
        await self.supervisor.stop()
        await self.store.stop()

    async def idle(self) -> None:
        """Wait until no session is run here."""
        async with asyncio.timeout(10):
            while self.supervisor.running:
                await asyncio.sleep(0.01)

    async def die(self) -> None:
        """Vanish as a killed process does: nothing more is written, and nobody hears its channel."""
        await self.store.stop()
        await self.supervisor.stop()


class Talk:
    """A client of one session: numbers what it sends, collects the log as it grows."""

    def __init__(self, worker: Worker, session: str) -> None:
        self.session = session
        self.frames: list[Frame] = []
        self.is_over = asyncio.Event()
        self.worker = worker
        self._n = self._seq = 0
        self._grown = asyncio.Event()
        self._early: list[LogEntry] | None = None

    # ---- as a listener

    def deliver(self, entry: LogEntry) -> None:
        if self._early is not None:
            self._early.append(entry)
        else:
            self._take(entry)

    def _take(self, entry: LogEntry) -> None:
        if entry.first > self._seq:  # two workers may both tell of it
            self._seq = entry.last
            self.frames.append(orjson.loads(entry.frame))
            self._grown.set()

    def look(self) -> None:
        """Listening anew is the gateway's; here the log is told whole."""

    def ended(self) -> None:
        self.is_over.set()

    # ---- as a client

    @classmethod
    async def start(cls, worker: Worker, agent: str = "agent", start: str = "") -> Talk:
        talk = cls(worker, secrets.token_urlsafe(16))
        worker.store.listen(talk.session, talk)
        await worker.store.create(talk.session, "ann", agent, start)
        await worker.store.attach(talk.session, "ann", CLIENT, START)
        return talk

    async def move(self, worker: Worker) -> None:
        """Go on at another worker, with what its log holds after the last frame."""
        self.worker = worker
        self._early = []
        worker.store.listen(self.session, self)
        attached = await worker.store.attach(self.session, "ann", CLIENT, START)
        early, self._early = self._early, None
        for entry in [*attached.page.entries, *early]:
            self._take(entry)

    async def say(self, content: str) -> str:
        """Send a message; the id of its turn."""
        accepted = await self._send(MessageInput(n=self._n + 1, content=content), secrets.token_urlsafe(8))
        assert accepted.turn is not None
        return accepted.turn

    async def edit(self, message: str, content: str) -> str:
        """Edit an earlier message; the id of the new turn."""
        frame = EditInput(n=self._n + 1, id=message, content=content)
        accepted = await self._send(frame, secrets.token_urlsafe(8))
        assert accepted.turn is not None
        return accepted.turn

    async def send(self, frame: Frame) -> Accepted:
        """Send any input, as a client would write it but for its number."""
        decoded = decode(orjson.dumps({**frame, "n": self._n + 1}))
        assert isinstance(decoded, Counted)
        return await self._send(decoded, secrets.token_urlsafe(8))

    async def answer(self, ask: str, value: Any) -> None:
        await self._send(AnswerInput(n=self._n + 1, ask=ask, value=value), "")

    async def decline(self, ask: str) -> None:
        await self._send(AnswerInput(n=self._n + 1, ask=ask, cancelled=True), "")

    async def cancel(self, turn: str | None = None) -> None:
        await self._send(CancelInput(n=self._n + 1, turn=turn), "", turn or "")

    async def end(self) -> None:
        await self._send(EndInput(n=self._n + 1), "")

    async def _send(self, frame: Durable, turn: str, target: str = "") -> Accepted:
        self._n += 1
        body = body_of(frame)
        new = NewInput(self._n, frame.type, body, checksum(body), turn, target)
        accepted = await self.worker.store.accept(self.session, CLIENT, new)
        assert isinstance(accepted, Accepted), accepted
        return accepted

    # ---- what was seen

    async def until(self, seen: Callable[[], object]) -> None:
        """Wait until the log has grown to what `seen` looks for."""
        async with asyncio.timeout(20):
            while not seen():
                self._grown.clear()
                await self._grown.wait()

    def events(self, turn: str | None = None) -> list[Frame]:
        return [event for frame in self.frames if turn in {None, frame["turn"]} for event in frame["events"]]

    def end_of(self, turn: str) -> Frame | None:
        ends = [e for e in self.events(turn) if e["type"] in {"RUN_FINISHED", "RUN_ERROR"}]
        assert len(ends) < 2, f"turn {turn} ended {len(ends)} times"
        return ends[0] if ends else None

    async def asked(self, nth: int = 0) -> Frame:
        """The n-th ask that was shown, from 0."""

        def asks() -> list[Frame]:
            return [e["value"] for e in self.events() if e.get("name") == "parley.ask"]

        await self.until(lambda: len(asks()) > nth)
        return asks()[nth]

    def resolved(self) -> list[Frame]:
        """How asks ended, in order."""
        return [e["value"] for e in self.events() if e.get("name") == "parley.ask_resolved"]

    async def done(self, turn: str) -> Frame:
        """The terminal event of a turn, once it is there; nothing of the turn may follow it."""
        await self.until(lambda: self.end_of(turn))
        end = self.end_of(turn)
        assert end is not None
        assert self.events(turn)[-1] is end
        return end

    async def ask(self, content: str) -> str:
        """Say something; the agent's words in answer."""
        turn = await self.say(content)
        await self.done(turn)
        return self.text(turn)

    def text(self, turn: str, attempt: int | None = None) -> str:
        """What the agent said in a turn, without the user's own words."""
        users = {e["messageId"] for e in self.events(turn) if e.get("role") == "user"}
        return "".join(
            event["delta"]
            for frame in self.frames
            if frame["turn"] == turn and attempt in {None, frame["attempt"]}
            for event in frame["events"]
            if event["type"] == "TEXT_MESSAGE_CONTENT" and event["messageId"] not in users
        )
