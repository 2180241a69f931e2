"""`parley chat` as a user meets it: in a terminal, in a pipe, and with `--once`."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from typing import Any

import pytest

from app.protocol import events
from app.protocol.close import CloseCode
from app.protocol.frames import Position
from tests.client.fake import Peer, playing, reply, stays
from tests.client.pty_chat import CTRL_C, CTRL_D, chatting

Event = dict[str, Any]

COMMAND = (sys.executable, "-m", "app", "chat")


async def parley(*arguments: str, stdin: str = "") -> tuple[int, str, str]:
    """Run `parley chat` in pipes: exit code, output, errors."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            out, err = await process.communicate(stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def take_message(peer: Peer, turn: str, seq: int) -> str:
    """A message comes and its turn begins: two events and four of echo; what it says."""
    frame = await peer.frame("message")
    await peer.ack(frame["n"], turn)
    echo = events.text_message(frame["id"], frame["content"], "user")
    await peer.events(seq, events.run_started("s1", turn), *echo, turn=turn)
    return str(frame["content"])


def said(id_: str, text: str) -> list[Event]:
    return events.text_message(id_, text)


# ---- --once


async def test_once_prints_the_answer_and_nothing_else() -> None:
    async def scene(peer: Peer) -> None:
        hello = await peer.welcome()
        assert (hello["agent"], hello["token"]) == ("echo", "secret")
        text = await take_message(peer, "t1", 1)
        await peer.events(5, *said("a", f"Received: {text}\n"), *said("b", "[bold]:smile:"), turn="t1")
        await peer.events(11, events.run_finished("s1", "t1"), turn="t1")
        await stays(peer)

    async with playing(scene) as server:
        result = await parley(server.url, "--agent", "echo", "--token", "secret", "--once", "hello")
    assert result == (0, "Received: hello\n\n[bold]:smile:\n", "")


async def test_once_prints_no_attempt_that_was_superseded() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1", 1)
        await peer.events(5, events.text_start("a"), events.text_content("a", "Recei"), turn="t1")
        await peer.bye(CloseCode.GOING_AWAY, reconnect=True)

    async def second(peer: Peer) -> None:
        assert (await peer.welcome(acked=1))["since"]["seq"] == 6
        again = [events.text_end("a"), events.superseded(["a"]), events.run_started("s1", "t1")]
        await peer.events(7, *again, turn="t1", attempt=2)
        await peer.events(10, *said("b", "Received: hello"), events.run_finished("s1", "t1"), turn="t1", attempt=2)
        await stays(peer)

    async with playing(first, second) as server:
        assert await parley(server.url, "--once", "hello") == (0, "Received: hello\n", "")


async def test_once_fails_with_the_turn() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1", 1)
        await peer.events(5, *said("a", "half"), events.run_error("it broke", "handler_error"), turn="t1")
        await stays(peer)

    async with playing(scene) as server:
        assert await parley(server.url, "--once", "hello") == (1, "", "parley: it broke\n")


@pytest.mark.parametrize("arguments", [("--once", "hello"), ()], ids=["once", "conversation"])
async def test_no_server_is_said_in_one_line(arguments: tuple[str, ...]) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        code, out, err = await parley(url, *arguments)
    assert (code, out) == (1, "")
    assert err == f'parley: cannot reach {url}: connection refused (is "parley serve" running?)\n'


async def test_what_is_no_address_is_said_in_one_line() -> None:
    code, out, err = await parley("localhost:8000", "--once", "hello")
    assert (code, out) == (1, "")
    assert err == "parley: the address 'localhost:8000' is not http(s)://host[:port][/base] or ws(s)://…\n"


async def test_a_refusal_is_said_in_one_line() -> None:
    async def scene(peer: Peer) -> None:
        await peer.frame("hello")
        await peer.error("no_such_agent", fatal=True)
        await peer.socket.close(CloseCode.NOT_FOUND)

    async with playing(scene) as server:
        code, out, err = await parley(server.url, "--once", "hello", "--agent", "nobody")
    assert (code, out) == (1, "")
    assert err == "parley: the server closed the connection for good: no_such_agent: because (4404)\n"


async def test_ctrl_c_cancels_the_one_turn() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1", 1)
        started.set()
        cancel = await peer.frame("cancel")
        assert cancel["turn"] == "t1"
        await peer.ack(cancel["n"])
        await peer.events(5, events.run_error("", "cancelled"), turn="t1")
        await stays(peer)

    started = asyncio.Event()
    async with playing(scene) as server, chatting(server.url, "--once", "hello") as chat:
        await started.wait()
        chat.types(CTRL_C)
        await chat.sees("parley: cancelled")
        assert await chat.leaves() == 1


async def test_a_second_ctrl_c_leaves_the_one_turn() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1", 1)
        started.set()
        await peer.frame("cancel")
        cancelled.set()
        await stays(peer)

    started, cancelled = asyncio.Event(), asyncio.Event()
    async with playing(scene) as server, chatting(server.url, "--once", "hello") as chat:
        await started.wait()
        chat.types(CTRL_C)
        await cancelled.wait()
        chat.types(CTRL_C)
        assert await chat.leaves() == 128 + signal.SIGINT


# ---- a conversation


async def test_a_conversation_in_a_pipe() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        for turn, seq in (("t1", 1), ("t2", 8)):
            text = await take_message(peer, turn, seq)
            await peer.events(seq + 4, *said(f"{turn}-a", text.upper()), turn=turn)
            await peer.events(seq + 7, events.run_finished("s1", turn), turn=turn)
        await stays(peer)

    async with playing(scene) as server:
        code, out, err = await parley(server.url, stdin="hello\n\n  \nbye")
    assert (code, err) == (0, "")
    assert out.splitlines()[1:] == ["echo: HELLO", "echo: BYE"]


async def test_an_interrupt_leaves_a_pipe_that_stays_open() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await stays(peer)

    async with playing(scene) as server:
        process = await asyncio.create_subprocess_exec(
            *COMMAND, server.url,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            async with asyncio.timeout(20):
                await process.stdout.readline()
                process.send_signal(signal.SIGINT)
                assert (await process.stdout.read(), await process.wait()) == (b"", 0)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def test_ctrl_d_and_ctrl_c_leave_at_the_prompt() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await stays(peer)

    for key in (CTRL_D, CTRL_C):
        async with playing(scene) as server, chatting(server.url) as chat:
            await chat.sees("echo, session s1", "> ")
            chat.types(key)
            assert await chat.leaves() == 0
            assert "Traceback" not in chat.screen
            assert "Fatal" not in chat.screen


async def test_tokens_are_seen_as_they_come() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1", 1)
        await peer.events(5, events.text_start("a", name="Ada"), events.text_content("a", "one "), turn="t1")
        await seen.wait()
        await peer.events(7, events.text_content("a", "two\x1b[2J"), events.text_end("a"), turn="t1")
        await peer.events(9, events.run_finished("s1", "t1"), turn="t1")
        await stays(peer)

    seen = asyncio.Event()
    async with playing(scene) as server, chatting(server.url) as chat:
        await chat.sees("> ")
        chat.types("count\n")
        await chat.sees("Ada: one ")
        seen.set()
        await chat.sees("Ada: one two[2J\n> ")
        # what was typed is not said again
        assert "you:" not in chat.screen


async def test_a_turn_may_be_over_before_its_ack_comes() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await peer.frame("message")
        await peer.events(1, *reply("t1", "quick"), turn="t1")
        await seen.wait()
        await peer.ack(1, "t1")
        assert await take_message(peer, "t2", 6) == "next"
        again.set()
        await stays(peer)

    seen, again = asyncio.Event(), asyncio.Event()
    async with playing(scene) as server, chatting(server.url) as chat:
        await chat.sees("> ")
        chat.types("hello\n")
        await chat.sees("echo: quick\n")
        seen.set()
        await chat.sees("echo: quick\n> ")
        chat.types("next\n")
        await again.wait()


async def test_ctrl_c_cancels_the_turn_and_the_conversation_goes_on() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1", 1)
        await peer.events(5, events.text_start("a"), events.text_content("a", "1 2 3"), turn="t1")
        cancel = await peer.frame("cancel")
        await peer.ack(cancel["n"])
        await peer.events(7, events.text_end("a"), events.run_error("", "cancelled"), turn="t1")
        await take_message(peer, "t2", 9)
        await peer.events(13, events.text_start("b"), events.text_content("b", "4 5 6"), turn="t2")
        await peer.frame("cancel")
        cancelled.set()
        await stays(peer)

    cancelled = asyncio.Event()
    async with playing(scene) as server, chatting(server.url) as chat:
        await chat.sees("> ")
        chat.types("count\n")
        await chat.sees("1 2 3")
        chat.types(CTRL_C)
        await chat.sees("1 2 3", "\ncancelled\n> ")
        chat.types("again\n")
        await chat.sees("4 5 6")
        chat.types(CTRL_C)
        await cancelled.wait()
        chat.types(CTRL_C)
        assert await chat.leaves() == 128 + signal.SIGINT


async def test_a_lost_connection_is_said_and_the_answer_goes_on() -> None:
    async def first(peer: Peer) -> None:
        await peer.welcome()
        await take_message(peer, "t1", 1)
        await peer.events(5, events.text_start("a"), events.text_content("a", "one "), turn="t1")
        await seen.wait()
        await peer.bye(CloseCode.GOING_AWAY, reconnect=True)

    async def second(peer: Peer) -> None:
        assert (await peer.welcome(acked=1))["since"]["seq"] == 6
        again = [events.text_end("a"), events.superseded(["a"]), events.run_started("s1", "t1")]
        await peer.events(7, *again, turn="t1", attempt=2)
        await peer.events(10, *said("b", "one two"), events.run_finished("s1", "t1"), turn="t1", attempt=2)
        await stays(peer)

    seen = asyncio.Event()
    async with playing(first, second) as server, chatting(server.url) as chat:
        await chat.sees("> ")
        chat.types("count\n")
        await chat.sees("echo: one ")
        seen.set()
        await chat.sees(
            "\nconnection lost: worker is going away (1012); reconnecting …\n",
            "connected again\n",
            "that answer was cut off: attempt 2 starts over\n",
            "echo: one two\n> ",
        )


async def test_what_was_said_before_and_elsewhere_is_shown() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome(head=Position(7, "m"))
        # long enough for a prompt that does not wait for what was said before
        await asyncio.sleep(0.3)
        await peer.events(1, *reply("t1", "Old")[:-1], turn="t1")
        await peer.events(5, *events.text_message("u", "And?", "user"), turn="t1")
        await prompted.wait()
        await peer.events(8, *said("push", "News"))
        await peer.events(11, events.run_error("it broke", "handler_error"), turn="t1")
        await stays(peer)

    prompted = asyncio.Event()
    async with playing(scene) as server, chatting(server.url, "--session", "s1") as chat:
        await chat.sees("echo: Old\n", "you: And?\n> ")
        assert chat.screen.count("> ") == 1
        prompted.set()
        await chat.sees("echo: News\n> ", "handler_error: it broke\n> ")


async def test_a_reset_shows_the_conversation_anew() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome(head=Position(9, "m"))
        messages = [{"id": "u", "role": "user", "content": "Hi"}, {"id": "a", "role": "assistant", "content": "Ho"}]
        await peer.reset(Position(9, "m"), messages=messages)
        await stays(peer)

    async with playing(scene) as server, chatting(server.url, "--session", "s1") as chat:
        await chat.sees("the conversation up to here (trimmed):\nyou: Hi\necho: Ho\n> ")


async def test_a_final_close_ends_the_conversation() -> None:
    async def scene(peer: Peer) -> None:
        await peer.welcome()
        await prompted.wait()
        await peer.bye(CloseCode.SESSION_ENDED, reconnect=False, reason="ended")

    prompted = asyncio.Event()
    async with playing(scene) as server, chatting(server.url) as chat:
        await chat.sees("> ")
        prompted.set()
        await chat.sees("parley: the server closed the connection for good: ended (4410)")
        assert await chat.leaves() == 1
