"""Operators' accidents: a production server's data in test mode, and the other way round."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import Server, free_port

TESTING = {"GANGLION_TEST_MODE": "yes", "CONTROL_PORT": str(free_port())}


@pytest.fixture(scope="module")
def data() -> Iterator[Server]:
    """A server that has stopped, with a production server's data."""
    with Server("none") as server:
        server.start()
        server.stop()
        yield server


def contents(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Every path with its owner, mode and time of change, which a refusal leaves as they are."""
    found = {}
    for path in (directory, *directory.rglob("*")):
        status = path.lstat()
        found[str(path)] = (status.st_uid, status.st_mode, status.st_mtime_ns)
    return found


def test_test_mode_does_not_touch_a_production_servers_data(data: Server) -> None:
    before = contents(data.root / "data")
    for words in (("check",), ("run",)):
        refused = data.ganglion(*words, **TESTING)
        assert refused.returncode == 2, refused.stdout
        assert f"the data in {data.data} were made outside of test mode" in refused.stderr
        assert "set GANGLION_SWITCH_TEST_MODE=localhost" in refused.stderr
    wrong = data.ganglion("check", **TESTING, GANGLION_SWITCH_TEST_MODE="example.org")
    assert wrong.returncode == 2
    assert contents(data.root / "data") == before


def test_a_data_directory_from_before_the_record_is_a_production_servers(data: Server) -> None:
    record = data.data / "server.json"
    kept = record.read_text()
    record.write_text(kept.replace('  "test_mode": false,\n', ""))
    try:
        assert "test_mode" not in record.read_text()
        assert data.ganglion("check").returncode == 0
        assert data.ganglion("check", **TESTING).returncode == 2
    finally:
        record.write_text(kept)


def test_the_servers_name_lets_test_mode_start_over_its_data(data: Server) -> None:
    allowed = data.ganglion("check", **TESTING, GANGLION_SWITCH_TEST_MODE="localhost")
    assert allowed.returncode == 0, allowed.stderr
    assert "note: GANGLION_SWITCH_TEST_MODE lets the data of localhost start" in allowed.stderr


def test_a_test_servers_data_do_not_become_productions() -> None:
    with Server("none", {**TESTING, "CONTROL_PORT": str(free_port())}) as server:
        server.start()
        server.stop()
        server.start()
        server.stop()
        before = contents(server.root / "data")
        refused = server.ganglion("run", GANGLION_TEST_MODE="no")
        assert refused.returncode == 2
        assert f"the data in {server.data} were made in test mode" in refused.stderr
        assert contents(server.root / "data") == before
