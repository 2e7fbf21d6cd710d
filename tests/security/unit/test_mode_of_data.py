"""Data of test mode and other data are never mixed, unless a variable names the server."""

import json
from pathlib import Path

import pytest

from ganglion.data.identity import Record, check, current, keep, read
from ganglion.settings.operator_files import OperatorFiles
from tests.plans import problems, said, settings

TESTING = {"GANGLION_TEST_MODE": "yes"}
SWITCH = "GANGLION_SWITCH_TEST_MODE"


def refused(data: Path, operator: OperatorFiles | None = None, /, **environ: str) -> list[str]:
    chosen = settings(GANGLION_DATA=str(data), **environ)
    return problems(lambda: check(chosen, operator or OperatorFiles(), read(chosen.paths)))


def production(data: Path, **names: str) -> list[str]:
    """The refusal of such data in test mode."""
    name = names.get("name", "localhost")
    return [
        said(
            "GANGLION_TEST_MODE='yes'",
            f"the data in {data} were made outside of test mode, in which anyone could delete them"
            " all",
            "unset GANGLION_TEST_MODE, or use other data; only if these may be lost, set"
            f" {SWITCH}={name}",
        )
    ]


def of_tests(data: Path) -> list[str]:
    """The refusal of a test server's data in production."""
    return [
        said(
            "GANGLION_TEST_MODE='no'",
            f"the data in {data} were made in test mode, in which anyone could make administrators",
            "set GANGLION_TEST_MODE=yes, or use other data; only if these are to be kept, set"
            f" {SWITCH}=localhost",
        )
    ]


def recorded(data: Path, **environ: str) -> None:
    chosen = settings(GANGLION_DATA=str(data), **environ)
    (data / "postgres").mkdir()
    (data / "postgres" / "PG_VERSION").touch()
    keep(chosen.paths, current(chosen, OperatorFiles(), {}, ""))


def test_a_recorded_mode_is_kept(tmp_path: Path) -> None:
    recorded(tmp_path)
    assert refused(tmp_path) == []
    assert refused(tmp_path, **TESTING) == production(tmp_path)


def test_a_test_servers_data_stay_in_test_mode(tmp_path: Path) -> None:
    recorded(tmp_path, **TESTING)
    assert refused(tmp_path, **TESTING) == []
    assert refused(tmp_path) == of_tests(tmp_path)


@pytest.mark.parametrize("made", [{}, TESTING])
def test_the_name_of_the_server_switches_the_mode(tmp_path: Path, made: dict[str, str]) -> None:
    recorded(tmp_path, SYNAPSE_SERVER_NAME="example.org", **made)
    other = {"SYNAPSE_SERVER_NAME": "example.org", **({} if made else TESTING)}
    assert refused(tmp_path, **other, GANGLION_SWITCH_TEST_MODE="example.org") == []
    for wrong in ("yes", "localhost", "Example.org", "example.org."):
        assert len(refused(tmp_path, **other, GANGLION_SWITCH_TEST_MODE=wrong)) == 1


def test_the_name_in_force_is_that_of_the_files(tmp_path: Path) -> None:
    files = OperatorFiles(options={"server_name": "files.example"})
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").touch()
    assert refused(tmp_path, files, **TESTING) == production(tmp_path, name="files.example")
    assert refused(tmp_path, files, **TESTING, GANGLION_SWITCH_TEST_MODE="files.example") == []


def make(data: Path, path: str) -> None:
    (data / path).parent.mkdir(parents=True, exist_ok=True)
    (data / path).write_text("x")


@pytest.mark.parametrize(
    "left",
    ["postgres/PG_VERSION", "media_store/local_content/aa/bb/cc", "media_store/x"],
)
def test_data_without_a_record_are_productions(tmp_path: Path, left: str) -> None:
    make(tmp_path, left)
    assert refused(tmp_path) == []
    assert refused(tmp_path, **TESTING) == production(tmp_path)


def test_media_elsewhere_and_adopted_sqlite_are_productions_too(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    make(tmp_path, "media/local_content/a")
    files = OperatorFiles(options={"media_store_path": f"{tmp_path}/media"})
    assert refused(data, files, **TESTING) == production(data)
    for wrong in (7, ["a"], "\0", "a" * 300):
        assert refused(data, OperatorFiles(options={"media_store_path": wrong}), **TESTING) == []


def test_a_record_without_the_mode_is_productions(tmp_path: Path) -> None:
    chosen = settings(GANGLION_DATA=str(tmp_path))
    keep(chosen.paths, Record(server_name="localhost"))
    path = tmp_path / "server.json"
    values = json.loads(path.read_text())
    del values["test_mode"]
    path.write_text(json.dumps(values))
    assert refused(tmp_path) == []
    assert refused(tmp_path, **TESTING) == production(tmp_path)


def test_data_that_show_test_mode(tmp_path: Path) -> None:
    """The image's cluster in place, or the SQLite database of test mode."""
    image, linked, sqlite = (tmp_path / name for name in ("image", "linked", "sqlite"))
    make(image, "database/PG_VERSION")
    (image / "database.claimed").touch()
    linked.mkdir()
    (linked / "postgres").symlink_to(image / "database")
    make(sqlite, "sqlite/homeserver.db")
    for data in (linked, sqlite):
        assert refused(data, **TESTING) == []
        assert refused(data) == of_tests(data)
    # A link of the operator's own, to another disk.
    (image / "database.claimed").unlink()
    assert refused(linked) == []
    assert refused(linked, **TESTING) == production(linked)


def test_an_empty_directory_starts_in_either_mode(tmp_path: Path) -> None:
    make(tmp_path, "homeserver.yaml")
    make(tmp_path, "localhost.signing.key")
    (tmp_path / "media_store").mkdir()
    assert refused(tmp_path) == refused(tmp_path, **TESTING) == []
    # A start in test mode that was cut off before its database was made.
    keep(
        settings(GANGLION_DATA=str(tmp_path)).paths, Record(server_name="localhost", test_mode=True)
    )
    assert refused(tmp_path, **TESTING) == []
    assert refused(tmp_path) == of_tests(tmp_path)


def test_a_record_with_another_value_is_refused(tmp_path: Path) -> None:
    chosen = settings(GANGLION_DATA=str(tmp_path))
    keep(chosen.paths, Record(server_name="localhost", test_mode=True))
    path = tmp_path / "server.json"
    path.write_text(path.read_text().replace("true", '"yes"'))
    (problem,) = problems(lambda: read(chosen.paths))
    assert "has test_mode 'yes', which is neither true nor false" in problem


def test_complements_authority_is_switched_off_otherwise(tmp_path: Path) -> None:
    from ganglion.settings.environment import from_environ  # noqa: PLC0415

    make(tmp_path, "postgres/PG_VERSION")
    environ = {"GANGLION_DATA": str(tmp_path), "GANGLION_COMPLEMENT": "/c"}
    chosen = from_environ(environ, str, lambda path: path.startswith("/c/"))
    (problem,) = problems(lambda: check(chosen, OperatorFiles(), None))
    assert "fix: set GANGLION_TEST_MODE=no, or use other data" in problem
