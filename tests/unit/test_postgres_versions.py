"""A cluster whose version of PostgreSQL is not installed is refused, with the way out."""

from pathlib import Path

import pytest

from ganglion.machine.postgres_versions import cluster_version, problems
from ganglion.programs.synapse import schema

FOUND = {15: "/usr/lib/postgresql/15/bin", 17: "/usr/lib/postgresql/17/bin"}


def cluster(data: Path, text: str) -> Path:
    place = data / "postgres"
    place.mkdir()
    (place / "PG_VERSION").write_text(text)
    return place


@pytest.mark.parametrize("text", ["15\n", "17\n"])
def test_an_installed_version_has_no_problem(tmp_path: Path, text: str) -> None:
    place = cluster(tmp_path, text)
    assert list(problems(place, FOUND)) == []
    assert cluster_version(place) == int(text)


def test_no_cluster_and_no_postgresql_have_no_problem(tmp_path: Path) -> None:
    assert list(problems(tmp_path / "postgres", FOUND)) == []
    assert cluster_version(tmp_path / "postgres") is None
    # Such as where `check` runs on another machine than the server.
    assert list(problems(cluster(tmp_path, "13\n"), {})) == []


def test_an_older_version_names_the_image_that_upgrades_it(tmp_path: Path) -> None:
    (problem,) = problems(cluster(tmp_path, "13\n"), FOUND)
    assert problem.message == ("its database is of PostgreSQL 13, and here is PostgreSQL 15 and 17")
    assert "an image that has PostgreSQL 13 too, which upgrades it" in problem.hint
    assert "install postgresql-13" in problem.hint


def test_a_newer_version_names_the_image_that_made_it(tmp_path: Path) -> None:
    (problem,) = problems(cluster(tmp_path, "18\n"), FOUND)
    assert problem.hint.startswith("use the image that made it, or a later one")


@pytest.mark.parametrize("text", ["", "9.6\n", "seventeen"])
def test_a_file_without_a_major_version_is_refused(tmp_path: Path, text: str) -> None:
    place = cluster(tmp_path, text)
    (problem,) = problems(place, FOUND)
    assert problem.variable == str(place / "PG_VERSION")
    assert "which is not a major version" in problem.message


def test_a_synapse_that_the_database_accepts_has_no_problem() -> None:
    here = schema.installed()
    assert list(schema.refused(here, "the data", None)) == []
    assert list(schema.refused(schema.compatible(), "the data", "1.2.3")) == []
    assert schema.compatible() <= here


def test_a_synapse_that_is_too_old_is_refused_with_both_versions() -> None:
    here = schema.installed()
    (problem,) = schema.refused(here + 1, "the data", "9.9.9")
    assert problem.message == (
        f"is too old for the data: it has the schema {here}, and the database, last used by"
        f" Synapse 9.9.9, needs {here + 1} or later"
    )
    assert problem.hint.startswith("use an image with Synapse 9.9.9, or restore a backup")
    (unknown,) = schema.refused(here + 1, "the data", None)
    assert unknown.hint.startswith("use an image with the Synapse that used it last, or restore")
