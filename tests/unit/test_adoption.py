"""Servers and listeners in the operator's files are used, or a note names them with the reason."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from ganglion.plan import file_notes
from ganglion.settings import operator_files
from ganglion.settings.adoption import adopt
from ganglion.settings.environment import from_environ
from ganglion.settings.existing_database import notes
from ganglion.settings.variables import Settings
from tests.plans import no_file, plan_of, problems, said

SERVER = {"host": "db", "port": 5433, "user": "matrix", "password": "theirs", "database": "m"}


def adopted(data: Path, database: Any = None, **environ: str) -> Settings:
    """Adopt a data directory whose homeserver.yaml has a section `database`."""
    if database is not None:
        (data / "homeserver.yaml").write_text(yaml.safe_dump({"database": database}))
    chosen = from_environ({"GANGLION_DATA": str(data), **environ}, no_file)
    return adopt(chosen, operator_files.load(chosen))


def said_of(data: Path, **environ: str) -> tuple[str, ...]:
    found = adopted(data, **environ)
    return notes(found, operator_files.load(found))


def of_files(data: Path, text: str, **environ: str) -> Settings:
    """Adopt a data directory with this homeserver.yaml."""
    (data / "homeserver.yaml").write_text(text)
    chosen = from_environ({"GANGLION_DATA": str(data), **environ}, no_file)
    return adopt(chosen, operator_files.load(chosen))


def all_notes(data: Path, text: str, **environ: str) -> list[str]:
    """All notes on it, with FILE for the path of the file."""
    chosen = of_files(data, text, **environ)
    found = file_notes(plan_of(chosen, operator=operator_files.load(chosen)))
    return [note.replace(f"{data}/homeserver.yaml", "FILE") for note in found]


@pytest.mark.parametrize("database", [None, {"name": "sqlite3", "args": {"database": ":memory:"}}])
def test_where_there_is_none_ours_is_made(tmp_path: Path, database: Any) -> None:
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
def test_a_file_with_something_in_it_is_the_database(
    tmp_path: Path, database: Any, name: str | None
) -> None:
    if name is not None:
        (tmp_path / name).touch()
        assert adopted(tmp_path, database).sqlite is None
        (tmp_path / name).write_text("something")
    found = adopted(tmp_path, database)
    assert found.sqlite == (f"{tmp_path}/{name}" if name else None)
    assert found.embedded_postgres == (name is None)


def test_the_embedded_servers_cluster_was_decided_on(tmp_path: Path) -> None:
    (tmp_path / "homeserver.db").write_text("something")
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("17\n")
    for database in (None, {"name": "psycopg2", "args": SERVER}):
        assert adopted(tmp_path, database).embedded_postgres
    why = "the embedded PostgreSQL server is used"
    assert said_of(tmp_path) == tuple(
        f"{tmp_path}/homeserver.yaml: database.args.{name} has no effect: {why}"
        for name in ("database", "host", "password", "port", "user")
    )


def test_a_server_of_the_operators_files(tmp_path: Path) -> None:
    found = adopted(tmp_path, {"name": "psycopg2", "args": {**SERVER, "cp_max": 5}})
    assert (found.postgres_host, found.postgres_port) == ("db", 5433)
    assert (found.postgres_user, found.postgres_password) == ("matrix", "theirs")
    assert found.postgres_db == "m"
    assert said_of(tmp_path) == (
        "the database is the one in your files, on db",
        (
            f"{tmp_path}/homeserver.yaml: database.args.cp_max has no effect: the budget gives each"
            " process its connections; POSTGRES_CP_MAX changes it"
        ),
    )


def test_a_variable_counts_more(tmp_path: Path) -> None:
    database = {"name": "psycopg2", "args": SERVER}
    found = adopted(tmp_path, database, POSTGRES_PASSWORD="ours")
    assert (found.postgres_user, found.postgres_password) == ("matrix", "ours")
    assert said_of(tmp_path, POSTGRES_PASSWORD="ours") == (
        "the database is the one in your files, on db",
        (
            f"{tmp_path}/homeserver.yaml: database.args.password has no effect: POSTGRES_PASSWORD"
            " is set"
        ),
    )
    found = adopted(tmp_path, database, POSTGRES_HOST="other", POSTGRES_PASSWORD="ours")
    assert (found.postgres_host, found.postgres_user) == ("other", "synapse")
    assert said_of(tmp_path, POSTGRES_HOST="other", POSTGRES_PASSWORD="ours") == tuple(
        f"{tmp_path}/homeserver.yaml: database.args.{name} has no effect: POSTGRES_HOST is set"
        for name in ("database", "host", "password", "port", "user")
    )


def test_an_sqlite_database_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "homeserver.db").write_text("something")
    expected = (
        f"the database is the SQLite file {tmp_path}/homeserver.db, which workers cannot use; to"
        " run workers, move it to PostgreSQL: `ganglion import --from-sqlite`"
    )
    assert said_of(tmp_path) == (expected,)


def test_a_server_that_cannot_be_taken_over(tmp_path: Path) -> None:
    args = {"port": "many", "user": "a b", "dbname": "m", "sslrootcert": "/ca"}
    where = f"{tmp_path}/homeserver.yaml"
    assert problems(lambda: adopted(tmp_path, {"name": "psycopg2", "args": args})) == [
        said(
            where,
            "database: names a PostgreSQL server, but no args.host",
            "set POSTGRES_HOST to it, or remove the section to use the embedded server",
        ),
        said(
            where,
            "database: args.port is not a whole number from 1 to 65535",
            "write a number from 1 to 65535",
        ),
        said(
            where,
            "database: args.user is not a plain name",
            "use letters, digits and punctuation without spaces, quotes and \\, at most 63 bytes",
        ),
    ]
    unknown = {"name": "psycopg2", "args": {**SERVER, "sslrotcert": "/ca"}}
    assert problems(lambda: adopted(tmp_path, unknown)) == [
        said(
            where,
            "database: args.sslrotcert is not an argument of libpq",
            "correct it, or remove it",
        )
    ]
    hosts = {"name": "psycopg2", "args": {**SERVER, "host": "a,b,c", "port": "1,2"}}
    assert problems(lambda: adopted(tmp_path, hosts)) == [
        said(
            where,
            "database: args.port has 2 ports for 3 hosts",
            "write one port, or one for each host",
        )
    ]
    assert problems(lambda: adopted(tmp_path, {"name": "postgres"})) == [
        said(where, "database: name is 'postgres'", "write psycopg2 or sqlite3")
    ]


REST = {
    "sslrootcert": "/ca.pem",
    "keepalives_idle": 10,
    "connect_timeout": 5,
    "application_name": "synapse",
    "target_session_attrs": "read-write",
    "cp_reconnect": True,
}


def test_how_to_connect_is_passed_through(tmp_path: Path) -> None:
    args = {**SERVER, **REST, "host": "db1,db2", "port": "5432,5433", "sslmode": "verify-full"}
    found = adopted(tmp_path, {"name": "psycopg2", "args": args})
    assert (found.postgres_host, found.postgres_port) == ("db1,db2", "5432,5433")
    assert found.postgres_sslmode == "verify-full"
    assert dict(found.postgres_args) == REST
    # To a server that a variable names too, but for what a variable says.
    other = {"POSTGRES_HOST": "other", "POSTGRES_PASSWORD": "x", "POSTGRES_SSLMODE": "require"}
    found = adopted(tmp_path, {"name": "psycopg2", "args": args}, **other)
    assert (found.postgres_host, found.postgres_port) == ("other", 5432)
    assert found.postgres_sslmode == "require"
    assert dict(found.postgres_args) == REST
    # On the embedded server's socket, only what means something there.
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("17\n")
    found = adopted(tmp_path, {"name": "psycopg2", "args": args})
    assert found.postgres_host is None
    assert sorted(dict(found.postgres_args)) == [
        "application_name",
        "connect_timeout",
        "cp_reconnect",
    ]


def test_an_account_of_its_own_is_the_name_of_its_database(tmp_path: Path) -> None:
    """As libpq has it. A null is as good as nothing."""
    args = {"host": "db", "user": "matrix@x", "password": None}
    found = adopted(tmp_path, {"name": "psycopg2", "args": args})
    assert (found.postgres_user, found.postgres_db) == ("matrix@x", "matrix@x")
    assert found.postgres_password is None


def test_database_path_names_the_file(tmp_path: Path) -> None:
    (tmp_path / "old.db").write_text("something")
    found = of_files(tmp_path, "database_path: old.db\n")
    assert found.sqlite == f"{tmp_path}/old.db"


REDIS = """\
redis:
  enabled: true
  host: cache.internal
  port: 6380
  dbid: 3
  username: synapse
  password: pä ss
  use_tls: true
  ca_file: /ca.pem
"""


def test_the_redis_server_of_the_files(tmp_path: Path) -> None:
    found = of_files(tmp_path, REDIS)
    assert not found.embedded_redis
    assert (found.redis_host, found.redis_port, found.redis_dbid) == ("cache.internal", 6380, 3)
    assert (found.redis_password, found.redis_tls) == ("pä ss", True)
    assert dict(found.redis_args) == {"username": "synapse", "ca_file": "/ca.pem"}
    assert all_notes(tmp_path, REDIS) == [
        "the Redis server is the one in your files, cache.internal"
    ]
    found = of_files(tmp_path, REDIS, REDIS_HOST="other", REDIS_PASSWORD="x")
    assert (found.redis_host, found.redis_port, found.redis_tls) == ("other", 6379, False)
    assert dict(found.redis_args) == {"username": "synapse", "ca_file": "/ca.pem"}
    assert all_notes(tmp_path, REDIS, REDIS_HOST="other", REDIS_PASSWORD="x") == [
        f"FILE: redis.{name} has no effect: REDIS_HOST is set"
        for name in ("host", "port", "dbid", "password", "use_tls")
    ]


def test_a_socket_of_redis(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("in a file\n")
    text = f"redis: {{enabled: true, path: /run/r.sock, password_path: {tmp_path}/password}}\n"
    found = of_files(tmp_path, text)
    assert not found.embedded_redis
    assert (found.redis_path, found.redis_host) == ("/run/r.sock", None)
    assert found.redis_password == "in a file"


@pytest.mark.parametrize(
    ("text", "lost"),
    [
        ("redis:\n", []),
        ("redis: {enabled: true}\n", []),
        ("redis: {enabled: false}\n", ["enabled"]),
        ("redis: {enabled: true, host: localhost, port: 6379}\n", ["host", "port"]),
        ("redis: {host: redis}\n", ["host"]),
    ],
)
def test_redis_is_embedded(tmp_path: Path, text: str, lost: list[str]) -> None:
    found = of_files(tmp_path, text)
    assert found.embedded_redis
    assert found.redis_args == ()
    parts = [note.split()[1] for note in all_notes(tmp_path, text)]
    assert parts == [f"redis.{name}" for name in lost]


def test_a_redis_server_that_cannot_be_used(tmp_path: Path) -> None:
    where = f"{tmp_path}/homeserver.yaml"
    text = "redis: {enabled: true, host: r, port: x, username: u, password_path: /no/such}\n"
    assert problems(lambda: of_files(tmp_path, text)) == [
        said(
            where,
            "redis: port is not a whole number from 1 to 65535",
            "write a number from 1 to 65535",
        ),
        said(
            where,
            "redis: password_path cannot be read: No such file or directory",
            "give a readable file",
        ),
        said(
            where,
            "redis: has username without a password",
            "add password, or set REDIS_PASSWORD",
        ),
    ]


def test_metrics_of_the_files(tmp_path: Path) -> None:
    assert of_files(tmp_path, "enable_metrics: true\n").enable_metrics
    assert all_notes(tmp_path, "enable_metrics: true\n") == [
        (
            "FILE: enable_metrics opens CONTROL_PORT, 9469, with /metrics/NAME of each process;"
            " keep it from the public"
        )
    ]
    given = {"SYNAPSE_ENABLE_METRICS": "yes"}
    assert not of_files(tmp_path, "enable_metrics: false\n", **given).enable_metrics
    assert all_notes(tmp_path, "enable_metrics: false\n", **given) == [
        "SYNAPSE_ENABLE_METRICS has no effect: FILE sets enable_metrics"
    ]
    assert all_notes(tmp_path, "enable_metrics: true\n", **given) == []
    assert problems(lambda: of_files(tmp_path, "enable_metrics: 1\n")) == [
        said(f"{tmp_path}/homeserver.yaml", "sets enable_metrics to 1", "write true or false")
    ]


@pytest.mark.parametrize(
    ("text", "variable", "value", "overridden"),
    [
        ("max_upload_size: 50M\n", "SYNAPSE_MAX_UPLOAD_SIZE", "50M", None),
        ("max_upload_size: 10M\n", "SYNAPSE_MAX_UPLOAD_SIZE", "50M", "max_upload_size"),
        ("max_upload_size: much\n", "SYNAPSE_MAX_UPLOAD_SIZE", "50M", "max_upload_size"),
        ("report_stats: true\n", "SYNAPSE_REPORT_STATS", "no", "report_stats"),
        ("report_stats: false\n", "SYNAPSE_REPORT_STATS", "no", None),
        ("public_baseurl: https://x\n", "SYNAPSE_PUBLIC_BASEURL", "https://x/", None),
        ("public_baseurl: https://y\n", "SYNAPSE_PUBLIC_BASEURL", "https://x", "public_baseurl"),
        ("turn_uris: [a, b]\n", "SYNAPSE_TURN_URIS", "a,b", None),
        ("form_secret_path: /x\n", "SYNAPSE_FORM_SECRET", "x", "form_secret_path"),
        ("caches: {sync_response_cache_duration: 1m}\n", "SYNAPSE_CACHE_FACTOR", "2", None),
        ("caches: {global_factor: 1.0}\n", "SYNAPSE_CACHE_FACTOR", "2", "caches"),
        ("no_proxy_hosts: [a]\n", "SYNAPSE_NO_PROXY", "b", "no_proxy_hosts"),
    ],
)
def test_a_variable_that_a_file_overrides_is_told_of(
    tmp_path: Path, text: str, variable: str, value: str, overridden: str | None
) -> None:
    expected = [f"{variable} has no effect: FILE sets {overridden}"] if overridden else []
    assert all_notes(tmp_path, text, **{variable: value}) == expected


MANHOLES = """\
manhole: 9000
listeners:
- {type: manhole, port: 9000}
- {type: manhole, port: 8008}
- {type: manhole, path: /run/manhole.sock}
"""


def test_manholes_at_ports_that_are_taken(tmp_path: Path) -> None:
    where, fix = f"{tmp_path}/homeserver.yaml", "use a free port such as 9000"
    assert problems(lambda: of_files(tmp_path, MANHOLES)) == [
        said(where, "sets a manhole at 8008, which is HTTP_PORT", fix),
        said(where, "sets a manhole at None, which is not a port", fix),
    ]
    tcp = {"SYNAPSE_USE_UNIX_SOCKET": "no", "INTERNAL_PORT_BASE": "9000", "HTTP_PORT": "80"}
    assert problems(lambda: of_files(tmp_path, "manhole: 9602\n", **tcp)) == [
        said(where, "sets a manhole at 9602, which is INTERNAL_PORT_BASE+602", fix)
    ]
    assert problems(lambda: of_files(tmp_path, "listeners: [8008]\n")) == [
        said(
            where,
            "sets listeners to something other than a list of mappings",
            "write a list, with - port: 8008 and the rest below it, or remove it",
        )
    ]
