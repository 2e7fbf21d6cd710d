"""Clients, bots and bridges that other people wrote work with each preset."""

from pathlib import Path

import pytest

from tests.strangers.programs import HERE, WITHIN, Place, node, python, run, running

SCENARIOS = (
    "encrypted-room",
    "everyday",
    "key-backup",
    "media",
    "openid",
    "signature-wakes",
    "sliding-sync",
    "threads",
    "verification",
)
# The code that scenarios share, and a script that needs another program beside it.
OTHER_SCRIPTS = {"client", "question"}


def test_no_scenario_is_forgotten() -> None:
    scripts = {path.stem for path in (HERE / "js").glob("*.mjs")}
    assert scripts == {*SCENARIOS, *OTHER_SCRIPTS}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_matrix_js_sdk(place: Place, tmp_path: Path, scenario: str) -> None:
    run(place, node(f"{scenario}.mjs"), tmp_path)


@pytest.mark.parametrize("scenario", ["encrypted-room", "everyday", "verification"])
def test_matrix_nio(place: Place, tmp_path: Path, scenario: str) -> None:
    run(place, python("nio_scenarios.py", scenario), tmp_path)


def test_matrix_js_sdk_and_matrix_nio_read_each_other(place: Place, tmp_path: Path) -> None:
    with running(place, python("nio_scenarios.py", "answer"), tmp_path) as (bot, user_id):
        run(place, [*node("question.mjs"), user_id], tmp_path)
        assert bot.wait(WITHIN) == 0


def test_mautrix(place: Place, tmp_path: Path) -> None:
    run(place, python("mautrix_bridge.py"), tmp_path)


def test_maubot(place: Place, tmp_path: Path) -> None:
    run(place, python("maubot_echo.py"), tmp_path)
