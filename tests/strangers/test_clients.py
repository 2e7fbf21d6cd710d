"""Clients, bots and bridges that other people wrote work with each preset."""

from pathlib import Path

import pytest

from tests.strangers.programs import Place, node, python, run


@pytest.mark.parametrize(
    "scenario",
    [
        "encrypted-room",
        "everyday",
        "key-backup",
        "media",
        "openid",
        "signature-wakes",
        "sliding-sync",
        "threads",
        "verification",
    ],
)
def test_matrix_js_sdk(place: Place, tmp_path: Path, scenario: str) -> None:
    run(place, node(f"{scenario}.mjs"), tmp_path)


@pytest.mark.parametrize("scenario", ["encrypted-room", "everyday", "verification"])
def test_matrix_nio(place: Place, tmp_path: Path, scenario: str) -> None:
    run(place, python("nio_scenarios.py", scenario), tmp_path)


def test_mautrix(place: Place, tmp_path: Path) -> None:
    run(place, python("mautrix_bridge.py"), tmp_path)


def test_maubot(place: Place, tmp_path: Path) -> None:
    run(place, python("maubot_echo.py"), tmp_path)
