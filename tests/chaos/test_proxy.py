"""The fault proxy does what it is told and nothing else: all that the chaos suite finds rests on it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
import redis.asyncio
from redis.exceptions import ConnectionError as StoreGone

from tests.chaos.proxy import CHUNK, RST, FaultProxy
from tests.support.valkey import ValkeyProcess

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]

LIMIT = 20.0
QUIET = 0.2
"""Seconds in which what is not held back has come. Only what must not come waits so long."""


class Line:
    """A connection through a proxy, both ends in the test's hands."""

    def __init__(self, proxy: FaultProxy, client: Stream, server: Stream) -> None:
        self.proxy = proxy
        self.up, self.down = (client[1], server[0]), (server[1], client[0])

    async def carries(self, text: bytes = b"text") -> None:
        """What is said at either end is heard at the other."""
        for writer, reader in (self.up, self.down):
            writer.write(text)
            assert await reader.readexactly(len(text)) == text

    async def is_reset(self) -> None:
        for _, reader in (self.up, self.down):
            with pytest.raises(ConnectionResetError):
                await reader.read()


Connect = Callable[[], Awaitable[Line]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Make connections through one proxy, that ends with the test."""
    arrived: asyncio.Queue[Stream] = asyncio.Queue()

    async def take(*stream: object) -> None:
        await arrived.put(stream)  # type: ignore[arg-type]  # a reader and a writer

    async def line() -> Line:
        client = await asyncio.open_connection("127.0.0.1", proxy.port)
        server = await arrived.get()
        for _, writer in (client, server):
            stack.callback(writer.close)
        return Line(proxy, client, server)

    async with asyncio.timeout(LIMIT), AsyncExitStack() as stack:
        server = await asyncio.start_server(take, "127.0.0.1", 0)
        stack.callback(server.close)
        proxy = FaultProxy(server.sockets[0].getsockname())
        await proxy.start()
        stack.push_async_callback(proxy.stop)
        yield line


async def silent(reader: asyncio.StreamReader) -> bool:
    try:
        async with asyncio.timeout(QUIET):
            await reader.read(1)
    except TimeoutError:
        return True
    return False


async def test_what_is_said_comes_whole_and_in_order(connect: Connect) -> None:
    line = await connect()
    text = bytes(range(256)) * (4 * CHUNK // 256)
    for writer, reader in (line.up, line.down):
        writer.write(text)
        assert await reader.readexactly(len(text)) == text


async def test_an_end_that_is_done_can_still_be_told(connect: Connect) -> None:
    line = await connect()
    line.up[0].write_eof()
    assert await line.up[1].read() == b""
    line.down[0].write(b"last")
    line.down[0].write_eof()
    assert await line.down[1].read() == b"last"
    while line.proxy.count():
        await asyncio.sleep(0)


async def test_each_chunk_is_delayed_both_ways(connect: Connect) -> None:
    line = await connect()
    line.proxy.delay(QUIET)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await line.carries()
    assert loop.time() - began >= 2 * QUIET
    line.proxy.delay(0)
    await line.carries()


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_one_way_is_stalled_and_flows_again(connect: Connect, direction: str) -> None:
    line = await connect()
    stalled, other = (line.up, line.down) if direction == "up" else (line.down, line.up)
    line.proxy.stall(direction)  # type: ignore[arg-type]  # one of the two
    stalled[0].write(b"held")
    other[0].write(b"free")
    assert await other[1].readexactly(4) == b"free"
    assert await silent(stalled[1])
    line.proxy.flow()
    assert await stalled[1].readexactly(4) == b"held"


async def test_who_is_not_read_cannot_send_without_end(connect: Connect) -> None:
    line = await connect()
    line.proxy.stall("up")
    line.up[0].write(bytes(64 * 1024 * 1024))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(QUIET):
            await line.up[0].drain()
    line.up[0].transport.abort()


async def test_no_more_than_the_rate_comes(connect: Connect) -> None:
    line = await connect()
    line.proxy.throttle(100_000)
    loop = asyncio.get_running_loop()
    began = loop.time()
    line.up[0].write(bytes(50_000))
    await line.up[1].readexactly(50_000)
    assert loop.time() - began > 0.4
    line.up[0].write(bytes(10_000_000))
    await line.up[1].readexactly(1)
    line.proxy.throttle(None)
    await line.up[1].readexactly(10_000_000 - 1)


async def test_a_reset_is_one_at_both_ends(connect: Connect) -> None:
    lines = [await connect() for _ in range(3)]
    proxy = lines[0].proxy
    assert proxy.reset() == 3
    for line in lines:
        await line.is_reset()
    assert proxy.count() == 0
    await (await connect()).carries()


async def test_a_connection_may_be_reset_before_it_has_begun() -> None:
    proxy = FaultProxy(("127.0.0.1", 9))
    await proxy.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    while not proxy.reset():
        await asyncio.sleep(0)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    await proxy.stop()


async def test_one_end_hears_that_the_other_was_reset(connect: Connect) -> None:
    line = await connect()
    await line.carries()
    line.up[0].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    line.up[0].transport.abort()
    with pytest.raises(ConnectionResetError):
        await line.up[1].read()


async def test_half_of_a_chunk_comes_and_then_a_reset(connect: Connect) -> None:
    hit, other = await connect(), await connect()
    await hit.carries()
    hit.proxy.cut_in_frame()
    hit.up[0].write(b"12345678")
    assert await hit.up[1].readexactly(4) == b"1234"
    await hit.is_reset()
    await other.carries()


async def test_new_connections_go_to_the_new_upstream(connect: Connect) -> None:
    line = await connect()

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"promoted")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as promoted:
        line.proxy.upstream = promoted.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection("127.0.0.1", line.proxy.port)
        assert await reader.read() == b"promoted"
        writer.close()
        await line.carries()


async def test_where_nobody_listens_a_connection_is_reset(connect: Connect) -> None:
    line = await connect()
    line.proxy.upstream = ("127.0.0.1", 9)
    reader, writer = await asyncio.open_connection("127.0.0.1", line.proxy.port)
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()
    await line.carries()


# ---- in front of a Redis


@pytest.fixture
async def store(shared_valkey: ValkeyProcess) -> AsyncIterator[FaultProxy]:
    port = int(shared_valkey.url.rpartition(":")[2].partition("/")[0])
    proxy = FaultProxy(("127.0.0.1", port))
    await proxy.start()
    async with asyncio.timeout(LIMIT):
        yield proxy
    await proxy.stop()


def client_of(proxy: FaultProxy) -> redis.asyncio.Redis:
    """A client with one connection, that asks once."""
    retry = redis.asyncio.retry.Retry(redis.backoff.NoBackoff(), 0)
    return redis.asyncio.Redis(port=proxy.port, single_connection_client=True, retry=retry, protocol=2)


async def test_the_command_ran_whose_reply_is_swallowed(store: FaultProxy, shared_valkey: ValkeyProcess) -> None:
    async with client_of(store) as client:
        await client.set("bystander", "two\r\nlines")
        store.drop_reply(3)
        assert await client.incr("n") == 1
        assert await client.get("bystander") == b"two\r\nlines"
        with pytest.raises(StoreGone):
            await client.incr("n")
    with shared_valkey.client() as direct:
        assert direct.get("n") == "2"
    async with client_of(store) as again:
        assert await again.incr("n") == 3


async def test_one_reply_is_swallowed_from_the_middle_of_a_pipeline(store: FaultProxy) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", store.port)
    store.drop_reply(3)
    writer.write(b"".join(b"*2\r\n$4\r\nECHO\r\n$4\r\n%d\r\n\n\r\n" % n for n in range(1, 6)))
    before = b"$4\r\n1\r\n\n\r\n$4\r\n2\r\n\n\r\n"
    assert await reader.readexactly(len(before)) == before
    with pytest.raises(ConnectionResetError):
        await reader.read()
    writer.close()


async def test_subscribers_are_told_from_the_others(store: FaultProxy, shared_valkey: ValkeyProcess) -> None:
    async with client_of(store) as client, client.pubsub() as heard:
        await client.set("text", "SUBSCRIBE")
        await heard.subscribe("news")
        await heard.get_message(timeout=LIMIT)
        store.drop_reply(2)
        for word in ("one", "two", "three"):
            with shared_valkey.client() as direct:
                direct.publish("news", word)
            message = await heard.get_message(ignore_subscribe_messages=True, timeout=LIMIT)
            assert message is not None
            assert message["data"] == word.encode()
        assert await client.incr("n") == 1
        assert (store.count("subscriber"), store.count("commands")) == (1, 1)
        with pytest.raises(StoreGone):
            await client.incr("n")
        assert store.reset(only="subscriber") == 1
