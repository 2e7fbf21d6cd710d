"""`ganglion migrate` makes and upgrades the tables of an external database, without a server."""

import os
import subprocess
import tempfile
from collections.abc import Iterator

import psycopg2
import pytest

from ganglion.programs.postgres import database_lock
from ganglion.programs.synapse import schema
from tests.dependencies import PASSWORD, Postgres
from tests.harness import GANGLION, START_WITHIN

# Nothing is read or written there.
NOWHERE = f"{tempfile.gettempdir()}/ganglion-no-data"
SCHEMA = schema.directory() / "storage" / "schema"


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    quoted = PASSWORD.replace("'", "''")
    server.execute(f"CREATE ROLE synapse LOGIN PASSWORD '{quoted}'")
    yield server
    server.remove()


def database(postgres: Postgres, name: str) -> str:
    """Make an empty database."""
    postgres.execute(
        f"CREATE DATABASE {name} OWNER synapse TEMPLATE template0 ENCODING 'UTF8'"
        " LC_COLLATE 'C' LC_CTYPE 'C'"
    )
    return name


def start(postgres: Postgres, name: str, *options: str, **more: str) -> "subprocess.Popen[str]":
    variables = {
        "PATH": os.environ["PATH"],
        "SYNAPSE_SERVER_NAME": "localhost",
        "WORKERS": "event_persister",
        "GANGLION_DATA": NOWHERE,
        "POSTGRES_HOST": "127.0.0.1",
        "POSTGRES_PORT": str(postgres.port),
        "POSTGRES_DB": name,
        "POSTGRES_PASSWORD": PASSWORD,
        "REDIS_HOST": "127.0.0.1",
        "GANGLION_WAIT": f"{START_WITHIN:g}s",
        **more,
    }
    return subprocess.Popen(
        [*GANGLION, "migrate", *options],
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def migrate(postgres: Postgres, name: str, *options: str, **more: str) -> tuple[int, str]:
    """Return the exit status and the output."""
    with start(postgres, name, *options, **more) as process:
        output, _ = process.communicate(timeout=2 * START_WITHIN)
        return process.returncode, output


def harmless_change() -> str:
    """Return a change of the newest version that can be applied twice, as Synapse records it."""
    return next(
        name
        for name in sorted(schema.deltas(schema.installed()))
        for path in SCHEMA.glob(f"*/delta/{name}")
        if "INSERT INTO background_updates" in (text := path.read_text())
        and "CREATE" not in text
        and "ALTER" not in text
    )


def test_two_at_once_make_the_tables_once_and_the_wait_ends(postgres: Postgres) -> None:
    name = database(postgres, "fresh")
    status, output = migrate(postgres, name, "--wait", GANGLION_WAIT="1s")
    assert status == 2
    assert "`ganglion migrate` has not made Synapse's tables" in output
    assert "it has no tables yet" in output
    assert "fix: run `ganglion migrate`, and see its log; or raise GANGLION_WAIT" in output
    with start(postgres, name) as first, start(postgres, name) as second:
        outputs = [item.communicate(timeout=2 * START_WITHIN)[0] for item in (first, second)]
    assert (first.returncode, second.returncode) == (0, 0), outputs
    text = "\n".join(outputs)
    where = "fresh at 127.0.0.1: the tables"
    assert text.count("it has no tables yet; migrating") == 1
    assert text.count(f"{where} have version {schema.installed()}") == 1
    assert text.count(f"{where} are up to date, with version {schema.installed()}") == 1
    assert migrate(postgres, name, "--wait") == (0, "")


def test_a_change_of_the_same_version_is_applied_and_writers_keep_their_positions(
    postgres: Postgres,
) -> None:
    name, change = database(postgres, "upgraded"), harmless_change()
    assert migrate(postgres, name)[0] == 0
    with postgres.connected(name) as cursor:
        # As of an older release with the same version.
        cursor.execute("DELETE FROM applied_schema_deltas WHERE file = %s", (change,))
        cursor.execute("DELETE FROM background_updates")
        cursor.execute("INSERT INTO stream_positions VALUES ('events', 'event_persister7', 5)")
    status, output = migrate(postgres, name, "--wait", GANGLION_WAIT="1s")
    assert status == 2
    assert f"1 changes of version {schema.installed()} are left: {change}" in output
    status, output = migrate(postgres, name)
    assert status == 0, output
    assert change in output
    assert migrate(postgres, name, "--wait") == (0, "")
    with postgres.connected(name) as cursor:
        cursor.execute("SELECT instance_name, stream_id FROM stream_positions")
        assert cursor.fetchall() == [("event_persister7", 5)]


def test_it_is_refused_beside_a_whole_server_and_without_a_server(postgres: Postgres) -> None:
    name = database(postgres, "used")
    connection = psycopg2.connect(
        host="127.0.0.1", port=postgres.port, user="synapse", password=PASSWORD, dbname=name
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (database_lock.KEY,))
    status, output = migrate(postgres, name, GANGLION_WAIT="1s")
    connection.close()
    assert status == 2
    assert "another server uses it, at 127.0.0.1" in output
    alone = {"PATH": os.environ["PATH"], "GANGLION_DATA": NOWHERE}
    done = subprocess.run(
        [*GANGLION, "migrate"], env=alone, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert (
        "POSTGRES_HOST: names no external database; main migrates its own one at each start"
        in done.stderr
    )
