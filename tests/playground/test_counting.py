"""The page counts its inputs as the protocol says, through everything that a server and a network may do."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import orjson
import pytest
from playwright.async_api import JSHandle, WebSocketRoute, expect

from app.protocol import events
from app.protocol.codec import encode, encode_ack, encode_events
from app.protocol.frames import START, Ack, Bye, ErrorFrame, Limits, Position, Reset, Snapshot, Welcome
from tests.client.model import Model
from tests.playground.chromium import Tab, open_tab
from tests.playground.conftest import Desk
from tests.support.document import assert_documented
from tests.support.server import ParleyServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

MAKE = """async (dumped) => {
    const { Inputs } = await import('/playground/inputs.js');
    const refused = [];
    const onRefused = (sent) => refused.push(JSON.parse(sent.body).content);
    return { inputs: new Inputs(onRefused, dumped), refused };
}"""
TAKE = "(it, [time, count]) => [...Array(count)].map(() => it.inputs.take(time)?.frame()).filter(Boolean)"


class Counting:
    """The page's inputs and a server, with what is on its way between them, and no clock but a number."""

    def __init__(self, tab: Tab, chance: random.Random) -> None:
        self.tab = tab
        self.chance = chance
        self.model = Model()
        self.said: list[str] = []
        self.bad: list[str] = []
        self.cancels = 0
        self.lossy = False
        self.time = 0
        self._up: deque[str] = deque()
        self._down: deque[Ack | ErrorFrame | str] = deque()
        self._refused: list[str] = []

    async def begin(self, dumped: list[Any]) -> None:
        self.it: JSHandle = await self.tab.page.evaluate_handle(MAKE, dumped)
        await self._greet()

    async def step(self) -> None:
        said = [self.say, self.say, self.say, self.cancel, self.say_what_is_refused]
        moved = [*[self.write] * 4, *[self.serve] * 5, *[self.read] * 5, *[self.end_a_turn] * 2]
        steps = [*said, *moved, self.be_moody, self.wait, self.drop, self.reload, self.lose_a_tail]
        await self.chance.choice(steps)()

    async def say(self) -> None:
        self.said.append(f"m{len(self.said)}")
        await self._keep({"type": "message", "id": self.said[-1], "content": self.said[-1]})

    async def cancel(self) -> None:
        self.cancels += 1
        await self._keep({"type": "cancel"})

    async def say_what_is_refused(self) -> None:
        self.bad.append("bad")
        await self._keep({"type": "message", "id": f"b{len(self.bad)}", "content": "bad"})

    async def write(self) -> None:
        self._up.extend(await self.it.evaluate(TAKE, [self.time, self.chance.randint(1, 5)]))

    async def serve(self) -> None:
        for _ in range(min(self.chance.randint(1, 5), len(self._up))):
            self._down.append(self.model.accept(orjson.loads(self._up.popleft())))

    async def read(self) -> None:
        for _ in range(min(self.chance.randint(1, 5), len(self._down))):
            match self._down.popleft():
                case Ack() as ack:
                    await self.it.evaluate("(it, ack) => it.inputs.acked(ack)", ack.wire())
                case ErrorFrame() as error:
                    script = "(it, [error, time]) => it.inputs.refused(error, time)"
                    await self.it.evaluate(script, [error.wire(), self.time])
                case str() as turn:
                    await self.it.evaluate("(it, turn) => it.inputs.ended(turn)", turn)

    async def end_a_turn(self) -> None:
        if turn := self.model.end_turn():
            self._down.append(turn)

    async def be_moody(self) -> None:
        self.model.busy, self.model.unsure = self.chance.random() < 0.5, self.chance.random() < 0.3

    async def wait(self) -> None:
        self.time += 10_000

    async def drop(self) -> None:
        # the log is never lost: what a drop takes from this connection the next one brings
        ended = [news for news in self._down if isinstance(news, str)]
        self._up.clear()
        self._down.clear()
        await self._greet()
        self._down.extend(ended)

    async def reload(self) -> None:
        self._refused += await self.it.evaluate("(it) => it.refused")
        dumped = await self.it.evaluate("(it) => it.inputs.dump()")
        self._up.clear()
        self._down.clear()
        await self.begin(orjson.loads(orjson.dumps(dumped)))
        # a page that was reloaded reads the log from its start
        self._down.extend(turn for _, turn in self.model.kept[: self.model.ended] if turn)

    async def lose_a_tail(self) -> None:
        if self.chance.random() < 0.3:
            self.lossy = True
            self.model.lose(self.chance.randint(1, 4))
            await self.drop()

    async def settle(self) -> None:
        self.model.busy = self.model.unsure = False
        for _ in range(200):
            await self.wait()
            await self.write()
            await self.serve()
            await self.read()
            await self.end_a_turn()
            if not (self._up or self._down or await self.kept()):
                break

    async def check(self) -> None:
        assert self.model.messages() == self.said
        assert self._refused + await self.it.evaluate("(it) => it.refused") == self.bad
        # an acked cancel is not sent again, so a store that loses its tail may lose it
        assert self.model.controls() == self.cancels or self.lossy
        assert await self.kept() == 0

    async def kept(self) -> int:
        count: int = await self.it.evaluate("(it) => it.inputs.kept().length")
        return count

    async def _keep(self, members: dict[str, Any]) -> None:
        await self.it.evaluate("(it, members) => { it.inputs.keep(members) }", members)

    async def _greet(self) -> None:
        acked, known = self.model.hello()
        await self.it.evaluate("(it, [acked, known]) => it.inputs.welcomed(acked, known)", [acked, known])


async def test_every_input_is_accepted_once_and_in_order(desk: Desk, site: ParleyServer) -> None:
    tab = await desk.tab(site)
    for seed in range(8):
        counting = Counting(tab, random.Random(seed))
        await counting.begin([])
        for _ in range(80):
            await counting.step()
        await counting.settle()
        await counting.check()


class Peer:
    """A server's end of one connection of a page."""

    def __init__(self, socket: WebSocketRoute) -> None:
        self.socket = socket
        self.said: list[dict[str, Any]] = []
        self.undocumented: list[str] = []
        socket.on_message(self._hear)

    def _hear(self, text: str | bytes) -> None:
        frame = orjson.loads(text)
        try:
            assert_documented("fromClient", frame)
        except AssertionError as error:  # the browser's callbacks have nobody to raise it to
            self.undocumented.append(str(error))
        self.said.append(frame)

    def send(self, frame: bytes) -> None:
        assert_documented("toClient", orjson.loads(frame))
        self.send_text(frame.decode())

    def send_text(self, text: str) -> None:
        """Send what may be no frame that a server sends."""
        assert not self.undocumented, self.undocumented[0]
        self.socket.send(text)

    def welcome(self, acked: int = 0, *, known: bool = True, head: Position = START) -> None:
        welcome = Welcome(
            session="s1",
            agent="echo",
            user="anonymous",
            worker="w1",
            resumed=True,
            head=head,
            acked=acked,
            known=known,
            limits=Limits(frame_bytes=4_096, inbox=64),
        )
        self.send(encode(welcome))

    def error(self, code: str, n: int | None = None, after: int | None = None, *, fatal: bool = False) -> None:
        self.send(encode(ErrorFrame(code=code, message="because", n=n, retry_after_ms=after, fatal=fatal)))

    def inputs(self) -> list[tuple[int, Any]]:
        return [(frame["n"], frame.get("content")) for frame in self.said if "n" in frame]

    async def hears(self, tab: Tab, *expected: tuple[int, Any]) -> None:
        """Wait until these inputs, and no others, have come over this connection, all as documented."""
        for _ in range(750):
            if len(self.inputs()) >= len(expected):
                break
            await tab.page.wait_for_timeout(20)
        assert self.inputs() == list(expected)
        assert not self.undocumented, self.undocumented[0]


class Stage:
    """The page of a real server, with its connections led to this test."""

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.tab: Tab

    async def open(self, desk: Desk, site: ParleyServer, address: str = "/#session=s1") -> Tab:
        context = await desk.context(site)
        await context.route_web_socket(lambda url: url.endswith("/ws"), lambda ws: self.peers.append(Peer(ws)))
        self.tab = await open_tab(context, site.url + address)
        return self.tab

    async def peer(self, number: int) -> Peer:
        """The page's connection of this number, the first being 1, once it has said hello."""
        for _ in range(750):
            if len(self.peers) >= number and self.peers[number - 1].said:
                assert len(self.peers) == number, "a connection too many"
                return self.peers[number - 1]
            await self.tab.page.wait_for_timeout(20)
        raise AssertionError(f"no connection {number}")


def ack(n: int, turn: str | None = None, *, duplicate: bool = False) -> bytes:
    return encode_ack(n, queued=0, duplicate=duplicate, index=n, turn=turn)


def turn_of(seq: int, turn: str, *texts: str, mark: str = "m") -> bytes:
    said = [e for k, text in enumerate(texts) for e in events.text_message(f"{turn}-{k}", text)]
    return encode_events(seq, mark, turn, 1, [events.run_started("s1", turn), *said, events.run_finished("s1", turn)])


async def test_busy_means_later_and_all_behind_it_later_too(desk: Desk, site: ParleyServer) -> None:
    stage = Stage()
    tab = await stage.open(desk, site)
    peer = await stage.peer(1)
    peer.welcome(2)
    for text in "abc":
        await tab.say(text)
    await peer.hears(tab, (3, "a"), (4, "b"), (5, "c"))
    peer.send(ack(3, "t3"))
    peer.error("busy", 4, 2_000)
    peer.error("out_of_order", 5)
    await expect(tab["#pending .hint"].nth(1)).to_have_text("The server is busy; this is tried again")
    # a stop does not wait for room: it goes ahead, under the number that is due
    await tab["#stop"].click()
    await peer.hears(tab, (3, "a"), (4, "b"), (5, "c"), (4, None))
    peer.send(ack(4))
    await peer.hears(tab, (3, "a"), (4, "b"), (5, "c"), (4, None), (5, "b"), (6, "c"))


async def test_a_refused_input_gives_its_number_to_the_next(desk: Desk, site: ParleyServer) -> None:
    stage = Stage()
    tab = await stage.open(desk, site)
    peer = await stage.peer(1)
    peer.welcome()
    await tab.say("bad")
    await tab.say("good")
    await peer.hears(tab, (1, "bad"), (2, "good"))
    peer.error("unsupported", 1)
    peer.error("out_of_order", 2)
    await peer.hears(tab, (1, "bad"), (2, "good"), (1, "good"))
    await expect(tab["#notices"]).to_contain_text("Not sent: because.")
    # its text is there to be mended
    await expect(tab["#text"]).to_have_value("bad")


async def test_a_skipped_number_and_a_server_that_forgot(desk: Desk, site: ParleyServer) -> None:
    stage = Stage()
    tab = await stage.open(desk, site)
    one = await stage.peer(1)
    one.welcome(4)
    await tab.say("a")
    await tab.say("b")
    await one.hears(tab, (5, "a"), (6, "b"))
    one.send(ack(5, "t5"))
    one.error("counter_skipped", 6, fatal=True)
    await one.socket.close(code=4409, reason="input counter skipped")
    two = await stage.peer(2)
    two.welcome(5)
    await two.hears(tab, (6, "b"))
    await two.socket.close(code=4500, reason="server fault")
    three = await stage.peer(3)
    # its store lost something: what was taken before and has not ended goes out again
    three.welcome(4)
    await three.hears(tab, (5, "a"), (6, "b"))
    await three.socket.close(code=1012, reason="worker is going away")
    four = await stage.peer(4)
    four.welcome(6, known=False)
    await four.hears(tab, (1, "a"), (2, "b"))
    four.send(ack(1, "t1"))
    four.send(turn_of(1, "t1", "an answer"))
    await tab.sees("an answer")
    await expect(tab["#pending .message"]).to_have_count(1)


async def test_what_is_kept_outlives_a_reload(desk: Desk, site: ParleyServer) -> None:
    stage = Stage()
    tab = await stage.open(desk, site)
    peer = await stage.peer(1)
    peer.welcome(7)
    await tab.say("a")
    await tab.say("b")
    await peer.hears(tab, (8, "a"), (9, "b"))
    peer.send(ack(8, "t8"))
    peer.send(turn_of(1, "t8", "done"))
    await tab.sees("done")
    await tab.page.reload()
    again = await stage.peer(2)
    assert again.said[0]["client"] == peer.said[0]["client"]
    assert "since" not in again.said[0]
    assert again.said[0]["session"] == "s1"
    again.welcome(9, head=Position(6, "m"))
    # taken, but its ack was not seen: sent as it was, to learn its turn
    await again.hears(tab, (9, "b"))
    again.send(ack(9, "t9", duplicate=True))
    await expect(tab["#pending .hint"]).to_have_text("Waiting for its turn")
    again.send(turn_of(1, "t8", "done"))
    again.send(turn_of(6, "t9", "done too"))
    await tab.sees("done too")
    await tab.page.reload()
    last = await stage.peer(3)
    last.welcome(9)
    await tab.connected()
    await last.hears(tab)


async def test_a_message_that_was_never_sent_outlives_a_reload(desk: Desk, site: ParleyServer) -> None:
    stage = Stage()
    tab = await stage.open(desk, site, "/")
    await stage.peer(1)
    await tab.say("early")
    await expect(tab["#pending .message .body"]).to_have_text("early")
    await tab.page.reload()
    peer = await stage.peer(2)
    assert "session" not in peer.said[0]
    await expect(tab["#pending .message .body"]).to_have_text("early")
    peer.welcome(known=False)
    await peer.hears(tab, (1, "early"))
    assert tab.session == "s1"


async def test_positions_resets_and_what_is_unknown(desk: Desk, site: ParleyServer) -> None:
    stage = Stage()
    tab = await stage.open(desk, site)
    one = await stage.peer(1)
    one.welcome(head=Position(5, "m"))
    one.send(turn_of(1, "t1", "first"))
    await tab.sees("first")
    one.send_text('{"type":"of another version","n":1}')
    strange: list[dict[str, Any]] = [{"type": "CUSTOM", "name": "parley.later", "value": 1}, {"type": "THINKING_START"}]
    later = [*strange, events.text_start("x"), events.text_content("x", "sec")]
    one.send_text(encode_events(6, "m2", None, 1, later).decode())
    # a gap is the server's fault: come back with the last position
    one.send(turn_of(20, "t3", "too early"))
    two = await stage.peer(2)
    assert two.said[0]["since"] == {"seq": 9, "mark": "m2"}
    two.welcome(head=Position(13, "m3"))
    # a frame that begins before the position: what was had is dropped
    overlap = [events.text_content("x", "sec"), events.text_content("x", "ond"), events.text_end("x")]
    two.send(encode_events(9, "m2", None, 1, overlap))
    await tab.sees("second")
    assert [text for _, text in await tab.transcript()] == ["first", "second"]
    kept = [{"id": "u1", "role": "user", "content": "asked"}, {"id": "a1", "role": "assistant", "content": "half an "}]
    open_: list[dict[str, Any]] = [
        {"kind": "turn", "id": "t9", "attempt": 1},
        {"kind": "text", "id": "a1", "turn": "t9"},
    ]
    snapshot = Snapshot(messages=kept, state=None, open=open_, truncated=True)
    two.send(encode(Reset(reason="diverged", head=Position(4, "m4"), snapshot=snapshot)))
    two.send(encode_events(5, "m4", "t9", 1, [events.text_content("a1", "answer")]))
    await tab.sees("half an answer")
    assert await tab.transcript() == [("user", "asked"), ("agent", "half an answer")]
    await expect(tab["#older"]).to_be_visible()
    await expect(tab["#stop"]).to_be_visible()
    two.send(encode(Bye(reason="going_away", reconnect=True, after_ms=10)))
    await two.socket.close(code=1012, reason="worker is going away")
    three = await stage.peer(3)
    assert three.said[0]["since"] == {"seq": 5, "mark": "m4"}


async def test_a_final_close_is_final(desk: Desk, site: ParleyServer) -> None:
    stage = Stage()
    tab = await stage.open(desk, site)
    for number, code in enumerate([1000, 1009, 4400, 4403, 4404, 4410], 1):
        peer = await stage.peer(number)
        peer.welcome()
        await tab.connected()
        await peer.socket.close(code=code, reason="final")
        await expect(tab["#over"]).to_be_visible()
        await expect(tab["#status-words"]).to_have_text("Not connected")
        await expect(tab["#text"]).to_be_disabled()
        await tab["#over-new"].click()
        assert "session" not in (await stage.peer(number + 1)).said[0]


async def test_a_server_says_when_to_come_back_and_a_person_may_not_wait(desk: Desk, site: ParleyServer) -> None:
    stage = Stage()
    tab = await stage.open(desk, site)
    peer = await stage.peer(1)
    peer.welcome()
    await tab.connected()
    await tab["#status"].click()
    peer.send(encode(Bye(reason="busy", reconnect=True, after_ms=3_600_000)))
    await peer.socket.close(code=1013, reason="server too busy")
    await expect(tab["#status-detail"]).to_have_text("Reconnecting: the server is too busy")
    await tab["#retry"].click()
    (await stage.peer(2)).welcome()
    await tab.connected()


async def test_what_is_too_long_is_not_sent(desk: Desk, site: ParleyServer) -> None:
    stage = Stage()
    tab = await stage.open(desk, site)
    peer = await stage.peer(1)
    peer.welcome()
    await tab.connected()
    text = "é" * 3_000
    await tab["#text"].fill(text)
    await tab["#text"].press("Enter")
    await expect(tab["#notices"]).to_contain_text("Not sent: it has 6 KB, and at most 4 KB can be sent at once.")
    await expect(tab["#text"]).to_have_value(text)
    await tab["#notices button"].click()
    await tab.say("short")
    await peer.hears(tab, (1, "short"))
