"""server.json: written once, compared at each start, and never overwritten where it is wrong."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from signedjson.key import read_signing_keys

from ganglion.data.identity import (
    Database,
    Record,
    check,
    current,
    database_of,
    fingerprint,
    keep,
    moved_from,
    read,
)
from ganglion.data.secrets import keep_secrets, new_signing_key
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings
from tests.plans import problems, said, settings

VERSIONS = {"ganglion": "1", "synapse": "1.163.2"}
KEY = "ed25519 a_AbCd " + "B" * 43
PUBLIC = fingerprint(KEY)


def made(data: Path, operator: OperatorFiles | None = None, /, **environ: str) -> Settings:
    """A data directory whose first start had these variables, and the settings of that start."""
    chosen = settings(GANGLION_DATA=str(data), **environ)
    files = operator or OperatorFiles()
    (data / "secrets").mkdir(exist_ok=True)
    keep_secrets(chosen, files)
    if chosen.embedded_postgres:
        (data / "postgres").mkdir()
        (data / "postgres" / "PG_VERSION").write_text("17\n")
    keep(chosen.paths, current(chosen, files, VERSIONS, "pusher=pusher:1"))
    return chosen


def refused(data: Path, operator: OperatorFiles | None = None, /, **environ: str) -> list[str]:
    """The problems of a later start."""
    chosen = settings(GANGLION_DATA=str(data), **environ)
    record = read(chosen.paths)
    return problems(lambda: check(chosen, operator or OperatorFiles(), record))


def test_what_it_says(tmp_path: Path) -> None:
    chosen = made(tmp_path, SYNAPSE_SIGNING_KEY=KEY, SYNAPSE_SERVER_NAME="example.org")
    path = tmp_path / "server.json"
    assert json.loads(path.read_text()) == {
        "format": 1,
        "server_name": "example.org",
        "test_mode": False,
        "signing_key": PUBLIC,
        "database": {"kind": "embedded", "name": "synapse", "role": "synapse"},
        "versions": VERSIONS,
        "workers": "pusher=pusher:1",
    }
    assert path.stat().st_mode & 0o777 == 0o644
    assert KEY.rpartition(" ")[2] not in path.read_text()
    written = path.stat().st_mtime_ns
    record = read(chosen.paths)
    assert record is not None
    keep(chosen.paths, record)
    assert path.stat().st_mtime_ns == written
    keep(chosen.paths, replace(record, workers=""))
    assert read(chosen.paths) == replace(record, workers="")


def test_the_fingerprint_is_that_of_the_first_key() -> None:
    other = new_signing_key()
    (key,) = read_signing_keys([other])
    found = fingerprint(f"{other}\n{KEY}\n")
    assert found is not None
    assert found.startswith(f"ed25519:{key.version} ")
    assert fingerprint(f"{KEY}\n{other}") == PUBLIC
    for text in ("", "nonsense", "ed25519 a_b c", "\n"):
        assert fingerprint(text) is None


def test_the_same_server_again(tmp_path: Path) -> None:
    made(tmp_path)
    assert refused(tmp_path, WORKERS="full") == []


def test_another_name(tmp_path: Path) -> None:
    made(tmp_path, SYNAPSE_SERVER_NAME="one.example", SYNAPSE_SIGNING_KEY=KEY)
    fix = "set it to one.example, or give another data directory"
    message = f"is not the name of the server whose data is in {tmp_path}: one.example"
    given = {"SYNAPSE_SIGNING_KEY": KEY}
    assert refused(tmp_path, SYNAPSE_SERVER_NAME="two.example", **given) == [
        said("SYNAPSE_SERVER_NAME='two.example'", message, fix)
    ]
    files = OperatorFiles(
        options={"server_name": "two.example"}, sources={"server_name": "/h.yaml"}
    )
    assert refused(tmp_path, files, **given) == [
        said("/h.yaml: server_name='two.example'", message, fix)
    ]


def test_a_signing_key_that_was_given_once(tmp_path: Path) -> None:
    made(tmp_path, SYNAPSE_SIGNING_KEY=KEY)
    place = f"{tmp_path}/localhost.signing.key"
    rest = (
        f"this server's key is {PUBLIC} ({tmp_path}/server.json), and other servers would not"
        " trust another one"
    )
    fix = (
        f"give the key back, as SYNAPSE_SIGNING_KEY or in {place}; only if it is lost, set"
        " GANGLION_REPLACED_SIGNING_KEY=ed25519:a_AbCd"
    )
    assert refused(tmp_path) == [
        said("SYNAPSE_SIGNING_KEY", f"is not set, and {place} is missing; {rest}", fix)
    ]
    other = "ed25519 a_AbCd " + "C" * 43
    expected = said("SYNAPSE_SIGNING_KEY", f"is the key {fingerprint(other)}; {rest}", fix)
    assert refused(tmp_path, SYNAPSE_SIGNING_KEY=other) == [expected]
    assert refused(tmp_path, SYNAPSE_SIGNING_KEY=KEY) == []
    # On purpose, by the variable: of this key alone.
    accepted = {"GANGLION_REPLACED_SIGNING_KEY": "ed25519:a_AbCd"}
    assert refused(tmp_path, **accepted) == refused(tmp_path, SYNAPSE_SIGNING_KEY=other, **accepted)
    assert refused(tmp_path, **accepted) == []
    assert len(refused(tmp_path, GANGLION_REPLACED_SIGNING_KEY="ed25519:a_other")) == 1
    # By Synapse's own way to change it.
    public = str(PUBLIC).split(" ")[1]
    old = {"old_signing_keys": {"ed25519:a_AbCd": {"key": public, "expired_ts": 1}}}
    assert refused(tmp_path, OperatorFiles(options=old), SYNAPSE_SIGNING_KEY=other) == []
    # By a kept file with the same key.
    Path(place).write_text(f"{KEY}\n")
    assert refused(tmp_path) == []
    Path(place).write_text(f"{other}\n")
    assert refused(tmp_path) == [said(place, f"is the key {fingerprint(other)}; {rest}", fix)]


def test_a_key_of_the_files_that_is_missing_is_not_made_anew(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    files = OperatorFiles(options={"signing_key_path": f"{tmp_path}/key"})
    made(tmp_path, files)
    assert refused(tmp_path, files) == []
    (tmp_path / "key").unlink()
    (only,) = refused(tmp_path, files)
    assert f"{tmp_path}/key is missing" in only


def test_another_database_or_role_in_the_embedded_server(tmp_path: Path) -> None:
    made(tmp_path)
    file = tmp_path / "server.json"
    assert refused(tmp_path, POSTGRES_DB="matrix", POSTGRES_USER="m@x") == [
        said(
            f"{variable}={value!r}",
            f"is synapse in the embedded PostgreSQL server ({file})",
            f"set {variable}=synapse",
        )
        for variable, value in (("POSTGRES_DB", "matrix"), ("POSTGRES_USER", "m@x"))
    ]


def test_an_embedded_database_that_is_gone(tmp_path: Path) -> None:
    made(tmp_path)
    (tmp_path / "postgres" / "PG_VERSION").unlink()
    file = tmp_path / "server.json"
    assert refused(tmp_path) == [
        said(
            f"GANGLION_DATA={str(tmp_path)!r}",
            f"has no database in {tmp_path}/postgres, where {file} has one",
            "restore it from a backup; to begin with an empty database, remove"
            f' "database" from {file}',
        )
    ]
    found = json.loads(file.read_text())
    del found["database"]
    file.write_text(json.dumps(found))
    assert refused(tmp_path) == []


EXTERNAL = {"POSTGRES_HOST": "db", "POSTGRES_PASSWORD": "x"}


def test_from_an_external_database_to_the_embedded_one(tmp_path: Path) -> None:
    made(tmp_path, **EXTERNAL)
    file = tmp_path / "server.json"
    assert refused(tmp_path) == [
        said(
            f"GANGLION_DATA={str(tmp_path)!r}",
            f"belongs to a server with the database synapse of synapse, at db ({file}), not"
            " synapse of synapse, embedded",
            "set POSTGRES_HOST=db and the rest of POSTGRES_; to begin with an empty database,"
            f' remove "database" from {file}',
        )
    ]


def test_to_an_external_database_if_that_is_not_empty(tmp_path: Path) -> None:
    """external.await_postgres() looks."""
    chosen = made(tmp_path)
    record = read(chosen.paths)
    assert refused(tmp_path, **EXTERNAL) == []
    assert moved_from(chosen, record) is None
    assert moved_from(chosen, None) is None
    external = settings(GANGLION_DATA=str(tmp_path), **EXTERNAL)
    assert moved_from(external, record) == "synapse of synapse, embedded"
    assert record is not None
    assert moved_from(external, replace(record, database=database_of(external))) is None


def test_an_sqlite_file_that_was_moved_away(tmp_path: Path) -> None:
    chosen = settings(GANGLION_DATA=str(tmp_path))
    record = Record(server_name="localhost", database=Database(kind="sqlite", place="/h.db"))
    (only,) = problems(lambda: check(chosen, OperatorFiles(), record))
    assert "the SQLite file /h.db" in only
    assert "restore /h.db; to begin with an empty database, remove" in only
    again = replace(chosen, sqlite="/h.db")
    assert problems(lambda: check(again, OperatorFiles(), record)) == []
    assert (
        len(problems(lambda: check(replace(chosen, sqlite="/i.db"), OperatorFiles(), record))) == 1
    )


GOOD: dict[str, Any] = {"format": 1, "server_name": "localhost"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON: Expecting value: line 1 column 1 (char 0)"),
        ('{"format": 1', "is not JSON: Expecting ',' delimiter: line 1 column 13 (char 12)"),
        ("[]", "is not a JSON object"),
        ("{}", "has format None; this Ganglion knows 1"),
        (json.dumps({**GOOD, "format": 2}), "has format 2; this Ganglion knows 1"),
        ('{"format": 1}', "has server_name None, which is not a text"),
        (json.dumps({**GOOD, "workers": 1}), "has workers 1, which is not a text"),
        (json.dumps({**GOOD, "versions": 1}), "has versions 1, which is not an object"),
        (
            json.dumps({**GOOD, "signing_key": "x"}),
            "has signing_key 'x', which is not a fingerprint",
        ),
        (json.dumps({**GOOD, "database": "x"}), "has database 'x', which is not a database"),
        (
            json.dumps({**GOOD, "database": {"kind": "mysql"}}),
            "has database {'kind': 'mysql'}, which is not a database",
        ),
        (json.dumps({**GOOD, "name": "x"}), "has the unknown field name"),
    ],
)
def test_one_that_is_corrupt_is_refused_and_left_alone(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "server.json"
    path.write_text(text)
    assert problems(lambda: read(settings(GANGLION_DATA=str(tmp_path)).paths)) == [
        said(
            str(path),
            message,
            "restore it from a backup, or move it away: the next start writes it anew from the"
            " data directory",
        )
    ]
    assert path.read_text() == text


def test_one_that_is_no_text_or_no_file(tmp_path: Path) -> None:
    path = tmp_path / "server.json"
    paths = settings(GANGLION_DATA=str(tmp_path)).paths
    assert read(paths) is None
    path.write_bytes(b"\xff")
    (only,) = problems(lambda: read(paths))
    assert only.startswith(f"{path}: cannot be read: 'utf-8' codec can't decode byte")
    path.unlink()
    path.mkdir()
    (only,) = problems(lambda: read(paths))
    assert only.startswith(f"{path}: cannot be read: Is a directory")
    file = tmp_path / "file"
    file.touch()
    (only,) = problems(lambda: read(settings(GANGLION_DATA=str(file)).paths))
    assert only.startswith(f"GANGLION_DATA='{file}': is not a directory")


def test_an_older_data_directory_has_the_names_of_its_keys(tmp_path: Path) -> None:
    made(tmp_path, SYNAPSE_SERVER_NAME="one.example")
    (tmp_path / "server.json").unlink()
    assert refused(tmp_path, SYNAPSE_SERVER_NAME="one.example") == []
    assert refused(tmp_path, SYNAPSE_SERVER_NAME="two.example") == [
        said(
            "SYNAPSE_SERVER_NAME='two.example'",
            f"is not the name of the server whose data is in {tmp_path}: one.example",
            "set it to one.example, or give another data directory",
        )
    ]
