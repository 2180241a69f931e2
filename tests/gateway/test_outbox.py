"""The outbox by itself, over a `send` that does what a transport may do."""

from __future__ import annotations

import asyncio

import pytest

from app.gateway.outbox import Message, Outbox
from app.protocol.close import CloseCode


class Transport:
    """Takes frames while it is open; fails with what it is told to."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.failures: list[CloseCode | None] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None

    async def send(self, message: Message) -> None:
        await self.open.wait()
        if self.error is not None:
            raise self.error
        self.taken.append(message["text"])

    def outbox(self, limit: int = 100, timeout: float = 10) -> Outbox:
        return Outbox(self.send, limit, timeout, self.failures.append)


async def test_frames_are_sent_in_order_and_nothing_runs_afterwards() -> None:
    transport = Transport()
    outbox = transport.outbox()
    for number in range(5):
        outbox.put(b"%d" % number)
    await outbox.drained()
    outbox.put(b"5")
    await outbox.drained()
    assert transport.taken == ["0", "1", "2", "3", "4", "5"]
    assert outbox.waiting_bytes == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_transport_that_has_room_takes_a_frame_at_once() -> None:
    transport = Transport()
    transport.outbox().put(b"x")
    assert transport.taken == ["x"]
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_waits_goes_on_in_order_when_the_transport_has_room() -> None:
    transport = Transport()
    transport.open.clear()
    outbox = transport.outbox()
    for frame in (b"1", b"2"):
        outbox.put(frame)
    transport.open.set()
    outbox.put(b"3")
    await outbox.drained()
    outbox.put(b"4")
    assert transport.taken == ["1", "2", "3", "4"]


async def test_a_frame_larger_than_the_bound_passes_alone() -> None:
    transport = Transport()
    transport.open.clear()
    outbox = transport.outbox(limit=10)
    assert outbox.has_room(1_000)
    outbox.put(b"x" * 1_000)
    assert not outbox.has_room(1)
    assert transport.failures == []
    outbox.put(b"y")
    assert transport.failures == [CloseCode.READS_TOO_SLOWLY]


async def test_it_fails_once_past_its_bound_and_drops_all() -> None:
    transport = Transport()
    transport.open.clear()
    outbox = transport.outbox(limit=10)
    for _ in range(12):
        outbox.put(b"x")
    assert transport.failures == [CloseCode.READS_TOO_SLOWLY]
    transport.open.set()
    await outbox.drained()
    assert len(transport.taken) <= 1  # the one that was on its way


async def test_it_fails_at_the_deadline_of_one_send() -> None:
    transport = Transport()
    transport.open.clear()
    outbox = transport.outbox(timeout=0.01)
    outbox.put(b"x")
    await outbox.drained()
    assert transport.failures == [CloseCode.READS_TOO_SLOWLY]


@pytest.mark.parametrize(("error", "failures"), [(OSError(), []), (RuntimeError(), [None])])
async def test_a_socket_that_is_gone_or_closed_under_us(error: Exception, failures: list[None]) -> None:
    transport = Transport()
    transport.error = error
    outbox = transport.outbox()
    outbox.put(b"x")
    outbox.put(b"y")
    await outbox.drained()
    outbox.put(b"z")
    await outbox.drained()
    assert transport.failures == failures
    assert outbox.waiting_bytes == 0


async def test_the_last_frame_is_the_last() -> None:
    transport = Transport()
    outbox = transport.outbox()
    outbox.put(b"x")
    outbox.end(b"bye")
    outbox.put(b"y")
    await outbox.drained()
    assert transport.taken == ["x", "bye"]


async def test_closed_before_its_first_step_it_is_drained() -> None:
    transport = Transport()
    transport.open.clear()
    outbox = transport.outbox()
    outbox.put(b"x")
    outbox.close()
    async with asyncio.timeout(1):
        await outbox.drained()
    assert transport.taken == []
