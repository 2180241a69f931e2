"""Plays clients: reads orders as JSON lines from its input, answers each with one JSON line, ends with its input.

    python -m bench.load WIRE PORT

An order is `{"do": NAME, …}`, where NAME is a method of the class Load and the rest its arguments.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
import sys

import orjson
import uvloop

from bench.load.orders import Load


async def obey(load: Load) -> None:
    """Carry out one order after the other."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        order = orjson.loads(line)
        try:
            answer = await getattr(load, order.pop("do"))(**order)
        except (OSError, TimeoutError) as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        sys.stdout.write(orjson.dumps(answer).decode() + "\n")
        sys.stdout.flush()


async def serve() -> None:
    """Serve the orders for one peer."""
    await obey(Load(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(serve())
