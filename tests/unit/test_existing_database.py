"""An existing database is used or rejected, and never ignored silently."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ganglion.settings import operator_files
from ganglion.settings.environment import from_environ
from ganglion.settings.existing_database import adopt, notes
from ganglion.settings.variables import Settings
from tests.plans import no_file, problems, said

SERVER = {"host": "db", "port": 5433, "user": "matrix", "password": "theirs", "database": "m"}


def adopted(data: Path, database: Any = None, **environ: str) -> Settings:
    """Adopt the database of a data directory, with a section `database` in homeserver.yaml."""
    if database is not None:
        (data / "homeserver.yaml").write_text(yaml.safe_dump({"database": database}))
    chosen = from_environ({"GANGLION_DATA": str(data), **environ}, no_file)
    return adopt(chosen, operator_files.load(chosen))


def notes_on(data: Path, **environ: str) -> tuple[str, ...]:
    found = adopted(data, **environ)
    return notes(found, operator_files.load(found))


@pytest.mark.parametrize("database", [None, {"name": "sqlite3", "args": {"database": ":memory:"}}])
def test_without_a_database_the_embedded_server_is_used(tmp_path: Path, database: Any) -> None:
    found = adopted(tmp_path, database)
    assert found.embedded_postgres
    assert found.sqlite is None


@pytest.mark.parametrize(
    ("database", "name"),
    [
        (None, "homeserver.db"),
        ({"name": "sqlite3"}, "homeserver.db"),
        ({"name": "sqlite3", "args": {"database": "/data/homeserver.db"}}, None),
        ({"name": "sqlite3", "args": {"database": "other.db"}}, "other.db"),
        ({"args": {"database": "other.db"}}, "other.db"),
    ],
)
def test_a_file_that_is_not_empty_is_the_database(
    tmp_path: Path, database: Any, name: str | None
) -> None:
    if name is not None:
        (tmp_path / name).touch()
        assert adopted(tmp_path, database).sqlite is None
        (tmp_path / name).write_text("something")
    found = adopted(tmp_path, database)
    assert found.sqlite == (f"{tmp_path}/{name}" if name else None)
    assert found.embedded_postgres == (name is None)


def test_an_existing_cluster_of_the_embedded_server_is_used(tmp_path: Path) -> None:
    (tmp_path / "homeserver.db").write_text("something")
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("17\n")
    for database in (None, {"name": "psycopg2", "args": SERVER}):
        assert adopted(tmp_path, database).embedded_postgres
    assert notes_on(tmp_path) == (
        "the `database` section of your files is ignored: the embedded server has a database",
    )


def test_the_server_of_the_operators_files_is_used(tmp_path: Path) -> None:
    found = adopted(tmp_path, {"name": "psycopg2", "args": {**SERVER, "cp_max": 5}})
    assert (found.postgres_host, found.postgres_port) == ("db", 5433)
    assert (found.postgres_user, found.postgres_password) == ("matrix", "theirs")
    assert found.postgres_db == "m"
    assert notes_on(tmp_path) == ("the database is the one in your files, on db",)


def test_a_variable_overrides_the_files(tmp_path: Path) -> None:
    database = {"name": "psycopg2", "args": SERVER}
    found = adopted(tmp_path, database, POSTGRES_PASSWORD="ours")
    assert (found.postgres_user, found.postgres_password) == ("matrix", "ours")
    found = adopted(tmp_path, database, POSTGRES_HOST="other", POSTGRES_PASSWORD="ours")
    assert (found.postgres_host, found.postgres_user) == ("other", "synapse")
    assert notes_on(tmp_path, POSTGRES_HOST="other", POSTGRES_PASSWORD="ours") == ()


def test_a_note_says_that_the_database_is_sqlite(tmp_path: Path) -> None:
    (tmp_path / "homeserver.db").write_text("something")
    expected = (
        f"the database is the SQLite file {tmp_path}/homeserver.db, which workers cannot use; to"
        " run workers, move it to PostgreSQL (docs/drop-in.md)"
    )
    assert notes_on(tmp_path) == (expected,)


def test_unsupported_options_of_a_server_are_rejected(tmp_path: Path) -> None:
    args = {"port": "many", "user": "a b", "sslrootcert": "/ca", "keepalives_idle": 10}
    assert problems(lambda: adopted(tmp_path, {"name": "psycopg2", "args": args})) == [
        said(
            "database.args in your files",
            "has no host for the PostgreSQL server",
            "set POSTGRES_HOST, or remove the section to use the embedded server",
        ),
        said(
            "database.args in your files",
            "port is not a whole number from 1 to 65535",
            "write a number from 1 to 65535",
        ),
        said(
            "database.args in your files",
            "user is not a plain name",
            "use letters, digits, _ and -, starting with a letter, at most 63 characters",
        ),
        said(
            "database.args in your files",
            "has unsupported options: sslrootcert",
            "set POSTGRES_HOST and the other POSTGRES_ variables, and libpq's own variables for the"
            " rest, such as PGSSLROOTCERT",
        ),
    ]
