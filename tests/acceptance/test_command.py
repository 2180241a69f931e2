"""The command as an operator types it: what it prints, how it exits, what it says when something is wrong."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.support.process import free_port
from tests.support.server import ROOT
from tests.support.valkey import ValkeyProcess


def parley(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if k != "REDIS_URL" and not k.startswith("PARLEY_")}
    return subprocess.run(
        [sys.executable, "-m", "app", *args],
        cwd=ROOT,
        env=clean | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def assert_refuses(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """It ends with 1 and one line that holds these words, without a traceback."""
    assert done.returncode == 1, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("parley: ")]
    assert all(word in line for word in words), line
    assert "Traceback" not in done.stderr


def test_chat_once_prints_the_answer(server: StartServer) -> None:
    url = server().url
    done = parley("chat", url, "--once", "hello", "--agent", "echo")
    assert (done.returncode, done.stdout) == (0, "Received: hello\n")


def test_chat_without_a_server_says_so_in_one_line() -> None:
    done = parley("chat", f"http://127.0.0.1:{free_port()}", "--once", "hello")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "cannot reach" in done.stderr


def test_check_prints_the_agents_and_their_hooks() -> None:
    done = parley("check")
    assert done.returncode == 0
    assert "echo" in done.stdout
    assert "message, stop" in done.stdout


@pytest.mark.parametrize("command", ["check", "serve"])
def test_a_handlers_folder_that_does_not_exist(command: str, tmp_path: Path) -> None:
    done = parley(command, "--handlers", str(tmp_path / "none"), PARLEY_DATA_DIR=str(tmp_path), PARLEY_PORT="0")
    assert_refuses(done, "PARLEY_HANDLERS", "none")


def test_a_module_that_fails_to_import(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("import app as cl\n\nimport no_such_thing\n")
    done = parley("check", "--handlers", str(tmp_path))
    assert done.returncode == 1
    assert "broken.py:3" in done.stderr
    assert "no_such_thing" in done.stderr
    (tmp_path / "good.py").write_text("import app as cl\n@cl.on_message\nasync def main(): ...\n")
    done = parley("check", "--handlers", str(tmp_path), "--skip-broken")
    assert done.returncode == 0
    assert "good" in done.stdout


def test_a_second_handler_for_one_hook_names_both_places(tmp_path: Path) -> None:
    twice = "import app as cl\n@cl.on_message\nasync def a(): ...\n@cl.on_message\nasync def b(): ...\n"
    (tmp_path / "twice.py").write_text(twice)
    assert_refuses(parley("check", "--handlers", str(tmp_path)), "twice.py:2", "twice.py:4")


def test_a_module_without_handlers(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("x = 1\n")
    assert_refuses(parley("check", "--handlers", str(tmp_path)), "helper.py", "_helper")


def test_a_port_in_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = parley("serve", "--port", str(port), PARLEY_DATA_DIR=str(tmp_path))
    assert_refuses(done, "PARLEY_PORT", str(port), "in use")


def test_a_wider_address_needs_authentication(tmp_path: Path) -> None:
    done = parley("serve", "--host", "0.0.0.0", "--port", "0", PARLEY_DATA_DIR=str(tmp_path))  # noqa: S104
    assert_refuses(done, "PARLEY_AUTH_JWT_SECRET", "PARLEY_ALLOW_ANONYMOUS")


@pytest.mark.parametrize(
    ("name", "value"),
    [("PARLEY_PORT", "high"), ("PARLEY_WORKERS", "0"), ("PARLEY_AUTH_JWT_SECRET", "short"), ("REDIS_URL", "ftp://x")],
)
def test_a_setting_that_makes_no_sense_is_named(name: str, value: str, tmp_path: Path) -> None:
    assert_refuses(parley("serve", PARLEY_DATA_DIR=str(tmp_path), **{name: value}), name)


def test_a_redis_that_refuses() -> None:
    done = parley("serve", "--port", "0", REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    assert_refuses(done, "REDIS_URL", "cannot reach")


def test_a_wrong_password(tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path / "valkey", password="right") as valkey:
        url = valkey.url.replace("right", "wrong-one")
        done = parley("serve", "--port", "0", REDIS_URL=url)
    assert_refuses(done, "REDIS_URL", "password")
    assert "wrong-one" not in done.stderr


def test_a_store_that_may_drop_keys(tmp_path: Path) -> None:
    with ValkeyProcess(tmp_path / "valkey", policy="allkeys-lru") as valkey:
        done = parley("serve", "--port", "0", REDIS_URL=valkey.url)
    assert_refuses(done, "REDIS_URL", "noeviction")


async def test_a_redis_that_is_too_old() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            if line.strip().upper() == b"INFO":
                info = b"redis_version:6.2.14\r\nmaxmemory_policy:noeviction\r\n"
                writer.write(b"$%d\r\n%s\r\n" % (len(info), info))
            elif line.strip().upper() in {b"CLIENT", b"HELLO"}:
                writer.write(b"-ERR unknown command\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as old:
        port = old.sockets[0].getsockname()[1]
        done = await asyncio.to_thread(parley, "serve", "--port", "0", REDIS_URL=f"redis://127.0.0.1:{port}/0")
    assert_refuses(done, "REDIS_URL", "6.2.14", "7.0")
