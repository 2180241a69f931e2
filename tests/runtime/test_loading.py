"""Loading the handlers folder: what becomes an agent, and what is left out and why."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import HandlersError
from app.runtime.loading import load
from tests.runtime.stage import agents
from tests.support.server import ROOT

ECHO = """
@cl.on_message
async def main(message):
    pass
"""
NEEDY = """
@cl.on_app_startup
async def startup():
    pass

@cl.on_app_shutdown
async def shutdown():
    pass

@cl.on_message
async def main(message):
    pass

raise cl.NotOffered("set [NEEDED] first")
"""
BROKEN = NEEDY.replace("raise cl.NotOffered", "raise ValueError")


def test_a_module_that_is_not_offered_is_no_agent_and_breaks_nothing(tmp_path: Path) -> None:
    registry = agents(tmp_path / "handlers", echo=ECHO, needy=NEEDY)
    assert list(registry.agents) == ["echo"]
    assert registry.not_offered == {"needy": "set [NEEDED] first"}


@pytest.mark.parametrize("source", [NEEDY, BROKEN], ids=["not_offered", "broken"])
def test_what_is_left_out_leaves_no_hook_of_the_worker_behind(source: str, tmp_path: Path) -> None:
    before = "@cl.on_app_startup\nasync def startup():\n    pass\n"
    agents(tmp_path / "handlers", echo=ECHO, abefore=before + ECHO)
    (tmp_path / "handlers" / "needy.py").write_text(f"import app as cl\n{source}")
    registry = load(tmp_path / "handlers", skip_broken=True)
    assert sorted(registry.agents) == ["abefore", "echo"]
    assert len(registry.startup) == 1
    assert registry.shutdown == []


def test_it_is_offered_once_what_it_wants_is_there(tmp_path: Path) -> None:
    agents(tmp_path / "handlers", echo=ECHO, needy=NEEDY)
    registry = agents(tmp_path / "handlers", needy=NEEDY.partition("raise")[0])
    assert sorted(registry.agents) == ["echo", "needy"]
    assert registry.not_offered == {}
    assert len(registry.startup) == 1


def test_a_submodule_may_say_it_for_its_package(tmp_path: Path) -> None:
    package = tmp_path / "handlers" / "needy"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("import parley_handlers.needy.settings\n")
    (package / "settings.py").write_text("import app as cl\nraise cl.NotOffered('later')\n")
    assert agents(tmp_path / "handlers", echo=ECHO).not_offered == {"needy": "later"}


def test_a_folder_where_nothing_is_offered_says_what_each_wants(tmp_path: Path) -> None:
    with pytest.raises(HandlersError, match=r"no agent in .*; needy is not offered: set \[NEEDED\] first"):
        agents(tmp_path / "handlers", needy=NEEDY)


def test_check_prints_why(tmp_path: Path) -> None:
    agents(tmp_path / "handlers", echo=ECHO, needy=NEEDY)
    command = [sys.executable, "-m", "app", "check", "--handlers", str(tmp_path / "handlers")]
    env = os.environ | {"PARLEY_LOG_LEVEL": "info"}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=True)
    assert "needy is not offered: set [NEEDED] first\n" in done.stdout
    assert "agent_not_offered" in done.stderr
