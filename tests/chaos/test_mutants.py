"""Every mutant is alive and shows its fault where it must; a sound server comes through the same."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.chaos.mutants import MUTANTS
from tests.chaos.scenarios import AGENT, SCENARIOS, read_from_start, speak
from tests.chaos.stand import Stand
from tests.support.wire import transcript


def test_each_mutant_has_its_scenario() -> None:
    assert SCENARIOS.keys() == MUTANTS.keys()


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_sound_server_comes_through(name: str, tmp_path: Path) -> None:
    async with Stand(tmp_path, AGENT) as stand:
        await SCENARIOS[name](stand)


@pytest.mark.parametrize("name", MUTANTS)
async def test_a_mutant_serves_a_plain_turn_and_is_found_out(name: str, tmp_path: Path) -> None:
    async with Stand(tmp_path, AGENT, program=("tests.chaos.mutants", name)) as stand:
        _, session = await speak(stand, 3)
        assert transcript(await read_from_start(stand, session))[-1] == ("assistant", "1:0 1:1 1:2 ")
        with pytest.raises(AssertionError):
            await SCENARIOS[name](stand)
