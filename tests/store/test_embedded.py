"""The private Valkey: started, found again after its owner's death, ended; each time with real processes."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from app.errors import ConfigError
from app.store import embedded
from app.store.embedded import EmbeddedValkey
from tests.support.embedded import bystander, client_of, info, kept, kill, line_of, orphan, owner, pid_of, socket_of
from tests.support.process import is_running
from tests.support.valkey import ValkeyProcess

# -- start and stop


def test_start_serves_and_stop_leaves_nothing_running(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    url = valkey.start()
    pid = pid_of(url)
    assert url == f"unix://{data}/valkey.sock?db=0"

    valkey.stop()

    assert not is_running(pid)
    assert not (data / "valkey.sock").exists()
    assert not (data / "valkey.pid").exists()


def test_it_is_configured_to_keep_what_it_acknowledged(data: Path) -> None:
    with EmbeddedValkey(data) as url, client_of(url) as client:
        wanted = {
            "port": "0",
            "appendonly": "yes",
            "appendfsync": "always",
            "auto-aof-rewrite-min-size": str(256 * 1024 * 1024),
            "save": "",
            "maxmemory-policy": "noeviction",
            "loglevel": "notice",
            "daemonize": "no",
        }
        assert client.config_get(*wanted) == wanted


def test_only_its_user_can_reach_it_or_read_its_files(data: Path) -> None:
    with EmbeddedValkey(data) as url, client_of(url) as client:
        client.set("kept", "yes")
        for path in (data, data / "valkey.sock", *(data / "appendonlydir").iterdir()):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_everysec_can_be_chosen(data: Path) -> None:
    with EmbeddedValkey(data, appendfsync="everysec") as url, client_of(url) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_data_is_there_after_a_stop(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    with client_of(valkey.start()) as client:
        client.set("kept", "yes")
    valkey.stop()
    assert kept(valkey.start()) == "yes"
    valkey.stop()


def test_stop_may_be_called_at_any_time(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    valkey.stop()
    valkey.start()
    valkey.stop()
    valkey.stop()


def test_strange_characters_in_the_path(data: Path) -> None:
    with EmbeddedValkey(data / "da ta 'q\"ü#?%41") as url, client_of(url) as client:
        assert client.ping()


# -- deaths


def test_data_survives_a_killed_valkey_whose_stop_does_not_wait(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    url = valkey.start()
    with client_of(url) as client:
        client.set("kept", "yes")
    kill(pid_of(url))

    valkey.stop()

    assert kept(valkey.start()) == "yes"
    valkey.stop()


def test_a_valkey_that_does_not_heed_is_killed(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "STOP_WITHIN", 0.1)
    valkey = EmbeddedValkey(data)
    pid = pid_of(valkey.start())
    os.kill(pid, signal.SIGSTOP)
    valkey.stop()
    assert not is_running(pid)


def test_the_valkey_of_a_killed_owner_is_used_again_and_ended(data: Path) -> None:
    left = orphan(data)
    pid = pid_of(left)

    valkey = EmbeddedValkey(data)
    url = valkey.start()

    assert (url, pid_of(url), kept(url)) == (left, pid, "yes")
    valkey.stop()
    assert not is_running(pid)
    assert not (data / "valkey.sock").exists()


def test_a_valkey_used_again_takes_this_owners_appendfsync(data: Path) -> None:
    orphan(data)
    with EmbeddedValkey(data, appendfsync="everysec") as url, client_of(url) as client:
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_a_valkey_used_again_that_dies_is_not_waited_for(data: Path) -> None:
    orphan(data)
    valkey = EmbeddedValkey(data)
    kill(pid_of(valkey.start()))
    valkey.stop()
    assert not (data / "valkey.sock").exists()


def test_what_a_dead_valkey_left_is_replaced(data: Path) -> None:
    left = pid_of(orphan(data))
    kill(left)
    assert (data / "valkey.sock").exists()
    assert (data / "valkey.pid").exists()

    with EmbeddedValkey(data) as url:
        assert pid_of(url) != left
        assert kept(url) == "yes"


def test_another_process_under_the_noted_number_is_left_alone(data: Path) -> None:
    kill(pid_of(orphan(data)))
    with bystander() as foreign:
        (data / "valkey.pid").write_text(f"{foreign.pid}\n")
        with EmbeddedValkey(data) as url:
            assert pid_of(url) != foreign.pid
        assert foreign.poll() is None


def test_a_silent_valkey_of_a_killed_owner_is_named_and_left_alone(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "READY_WITHIN", 0.1)
    pid = pid_of(orphan(data))
    os.kill(pid, signal.SIGSTOP)

    with pytest.raises(ConfigError, match=rf"does not answer at {data}/valkey.sock: end its process {pid}"):
        EmbeddedValkey(data).start()

    os.kill(pid, signal.SIGCONT)
    monkeypatch.undo()
    with EmbeddedValkey(data) as url:
        assert pid_of(url) == pid


def test_a_valkey_with_its_data_elsewhere_is_not_used(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "READY_WITHIN", 0.1)
    os.kill(pid_of(orphan(data)), signal.SIGSTOP)
    (data / "valkey.sock").unlink()
    with ValkeyProcess(data.parent / "other", unix=True) as other:
        (data / "valkey.sock").symlink_to(socket_of(other.url))
        with pytest.raises(ConfigError, match="does not answer"):
            EmbeddedValkey(data).start()
        assert pid_of(other.url)


def test_ctrl_c_is_for_the_owner_and_its_valkey_lives_until_it_has_drained(data: Path) -> None:
    with owner(data) as (process, url):
        pid = pid_of(url)
        os.killpg(process.pid, signal.SIGINT)
        assert line_of(process) == "draining"
        assert pid_of(url) == pid

        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(30) == 0
        assert not is_running(pid)


# -- one owner


def test_a_second_process_is_told_who_holds_the_folder(data: Path) -> None:
    with owner(data) as (process, url):
        with pytest.raises(ConfigError) as refused:
            EmbeddedValkey(data).start()
        for part in (str(data), f"process {process.pid}", "PARLEY_DATA_DIR"):
            assert part in str(refused.value)
        assert info(url)["process_id"]  # the holder's own goes on
        kill(pid_of(url))


def test_the_same_process_cannot_take_a_folder_twice(data: Path) -> None:
    with EmbeddedValkey(data) as url:
        with pytest.raises(ConfigError, match=f"process {os.getpid()}"):
            EmbeddedValkey(data).start()
        assert pid_of(url)


def test_starting_twice_changes_nothing(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    url = valkey.start()
    with pytest.raises(ConfigError, match="in use"):
        valkey.start()
    assert pid_of(url)
    valkey.stop()


def test_children_do_not_hold_the_folder(data: Path) -> None:
    valkey = EmbeddedValkey(data)
    valkey.start()
    with bystander() as child:
        valkey.stop()
        with EmbeddedValkey(data) as url:
            assert pid_of(url)
        assert child.poll() is None
