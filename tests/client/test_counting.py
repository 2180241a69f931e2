"""The counting rules against a model that holds the client to them, through all that may go wrong."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from websockets.asyncio.server import ServerConnection, serve
from websockets.typing import Subprotocol

from app.client import InputRefused, Sent, connect, link
from app.client.inputs import Inputs
from app.protocol.codec import encode
from app.protocol.events import run_finished
from app.protocol.frames import Ack, ErrorFrame
from app.protocol.inputs import CancelInput, Durable, MessageInput
from tests.client.fake import Peer
from tests.client.model import CountingError, Model


async def _never(_: Callable[[], object]) -> None:
    raise AssertionError("nobody waits here")


class Counting(RuleBasedStateMachine):
    """A client's inputs and a server, with what is on its way between them, and no clock but a number."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.inputs = Inputs()
        self.inputs.welcomed(0, known=False)
        self.up: deque[bytes] = deque()
        self.down: deque[Ack | ErrorFrame | str] = deque()
        self.time = 0.0
        self.said: list[Sent] = []
        self.bad: list[Sent] = []
        self.cancels: list[Sent] = []
        self.lossy = False
        self.names = itertools.count()

    def _keep(self, frame: Durable) -> Sent:
        sent = Sent(frame, _never)
        self.inputs.keep(sent)
        return sent

    @rule()
    def say(self) -> None:
        self.said.append(self._keep(MessageInput(content=f"m{next(self.names)}")))

    @rule()
    def cancel(self) -> None:
        self.cancels.append(self._keep(CancelInput()))

    @rule()
    def say_what_is_refused(self) -> None:
        self.bad.append(self._keep(MessageInput(content="bad")))

    @rule(count=st.integers(1, 5))
    def write(self, count: int) -> None:
        for _ in range(count):
            sent = self.inputs.take(self.time)
            if sent is not None:
                self.up.append(sent.frame())

    @rule(count=st.integers(1, 5))
    def serve(self, count: int) -> None:
        for _ in range(min(count, len(self.up))):
            self.down.append(self.model.accept(orjson.loads(self.up.popleft())))

    @rule(count=st.integers(1, 5))
    def read(self, count: int) -> None:
        for _ in range(min(count, len(self.down))):
            match self.down.popleft():
                case Ack() as ack:
                    self.inputs.acked(ack)
                case ErrorFrame(n=int() as n) as error:
                    self.inputs.refused(n, error, self.time)
                case str() as turn:
                    self.inputs.ended(turn, (0, 1))

    @rule()
    def end_a_turn(self) -> None:
        turn = self.model.end_turn()
        if turn is not None:
            # the log is never lost: what a drop takes from this connection the next one brings
            self.down.append(turn)

    @rule(busy=st.booleans())
    def be_busy(self, *, busy: bool) -> None:
        self.model.busy = busy

    @rule(unsure=st.booleans())
    def be_unsure(self, *, unsure: bool) -> None:
        self.model.unsure = unsure

    @rule()
    def wait(self) -> None:
        self.time += 10

    @rule()
    def drop(self) -> None:
        ended = [news for news in self.down if isinstance(news, str)]
        self.up.clear()
        self.down.clear()
        acked, known = self.model.hello()
        self.inputs.welcomed(acked, known=known)
        self.down.extend(ended)

    @rule(count=st.integers(1, 4))
    def lose_a_tail(self, count: int) -> None:
        self.lossy = True
        self.model.lose(count)
        self.drop()

    @rule()
    def forget(self) -> None:
        self.lossy = True
        self.model.forget()
        # the log is lost too, and nobody has the inputs any more whose turns were seen to their end
        self.down.clear()
        self.drop()
        self.said = [sent for sent in self.said if self.inputs.keeps(sent)]

    @invariant()
    def no_message_is_there_twice(self) -> None:
        messages = self.model.messages()
        assert len(messages) == len(set(messages))

    def teardown(self) -> None:
        self.model.busy = self.model.unsure = False
        for _ in range(10 + 3 * len(self.said + self.bad + self.cancels)):
            self.wait()
            self.write(5)
            self.serve(5)
            self.read(5)
        assert self.model.messages() == [orjson.loads(sent.body)["content"] for sent in self.said]
        assert all(sent.error is not None and sent.ack is None for sent in self.bad)
        # an acked cancel is not sent again, so a store that loses its tail may lose it
        assert self.model.controls() == len(self.cancels) or self.lossy
        while self.model.end_turn():
            self.down.append(self.model.kept[self.model.ended - 1][1] or "")
            self.read(5)
        assert not self.inputs.full()
        assert not any(self.inputs.keeps(sent) for sent in self.cancels + self.bad)


Counting.TestCase.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestCounting = Counting.TestCase


class Unreliable:
    """A server that counts as the model does, and loses connections and acks wherever it can."""

    def __init__(self, chance: random.Random) -> None:
        self.model = Model()
        self.failure: CountingError | None = None
        self.calm = False
        self._chance = chance
        self._log: list[str] = []
        self._present: ServerConnection | None = None

    def _unlucky(self, odds: float) -> bool:
        return not self.calm and self._chance.random() < odds

    async def play(self, socket: ServerConnection) -> None:
        self._present = socket
        peer = Peer(socket)
        if self._unlucky(0.1):
            peer.drop()
            return
        acked, known = self.model.hello()
        since = (await peer.welcome(acked, known=known)).get("since", {"seq": 0})["seq"]
        for seq, turn in list(enumerate(self._log, 1))[since:]:
            await peer.events(seq, run_finished("s1", turn), turn=turn)
        while not self._unlucky(0.03):
            frame = await peer.frame("message", "cancel")
            # what an earlier connection still holds is not read any more
            if self._present is not socket:
                return
            await self._take(peer, frame)
        peer.drop()

    async def _take(self, peer: Peer, frame: dict[str, Any]) -> None:
        self.model.busy, self.model.unsure = self._unlucky(0.1), self._unlucky(0.1)
        try:
            answer = self.model.accept(frame)
        except CountingError as failure:
            self.failure = failure
            await peer.socket.close(4409)
            return
        if self._unlucky(0.1):
            peer.drop()
            return
        await peer.send(encode(answer))
        if self._unlucky(0.7) or self.calm:
            turn = self.model.end_turn()
            if turn is not None:
                self._log.append(turn)
                await peer.events(len(self._log), run_finished("s1", turn), turn=turn)


@pytest.mark.parametrize("seed", range(12))
async def test_every_input_is_accepted_once_and_in_order(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "FIRST_DELAY", 0.001)
    monkeypatch.setattr(link, "MAX_DELAY", 0.01)
    chance = random.Random(seed)
    unreliable = Unreliable(chance)
    protocol = Subprotocol("parley.v1")
    async with serve(unreliable.play, "127.0.0.1", 0, subprotocols=[protocol], compression=None) as server:
        # the first connection has to succeed: one that never was is not tried again
        unreliable.calm = True
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with connect(url) as client:
            unreliable.calm = False
            inputs = []
            for number in range(100):
                kind = chance.random()
                if kind < 0.1:
                    inputs.append(await client.cancel())
                else:
                    inputs.append(await client.send("bad" if kind < 0.2 else f"m{number}"))
                if chance.random() < 0.2:
                    await asyncio.sleep(0.002)
            async with asyncio.timeout(60):
                outcomes = await asyncio.gather(*[sent.acked() for sent in inputs], return_exceptions=True)
    assert unreliable.failure is None
    said = [orjson.loads(sent.body).get("content") for sent in inputs]
    assert unreliable.model.messages() == [text for text in said if text not in {None, "bad"}]
    assert unreliable.model.controls() == said.count(None)
    for text, outcome in zip(said, outcomes, strict=True):
        assert isinstance(outcome, InputRefused if text == "bad" else Ack)
