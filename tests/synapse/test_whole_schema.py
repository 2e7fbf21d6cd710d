"""A first start that ends while Synapse makes its tables leaves an empty database."""

import multiprocessing
import os
from collections.abc import Iterator
from typing import Any, cast

import psycopg2
import pytest
from synapse.logging.context import LoggingContext
from synapse.storage.database import LoggingDatabaseConnection
from synapse.storage.engines import PostgresEngine
from synapse.storage.prepare_database import prepare_database

from ganglion.in_synapse import fixes
from tests.dependencies import PASSWORD, Postgres

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    yield server
    server.remove()


def prepare(port: int, name: str, text: str | None, scripts: int | None) -> str:
    """Make Synapse's tables, and end the process before a script. Returns the error, if any."""
    fixes.apply(text)
    engine_class: Any = PostgresEngine
    execute = engine_class.execute_script_file.__func__
    done = 0

    def counted(cls: Any, cursor: Any, path: str) -> None:
        nonlocal done
        if done == scripts:
            os._exit(9)
        done += 1
        execute(cls, cursor, path)

    engine_class.execute_script_file = classmethod(counted)
    engine = PostgresEngine(
        cast("Any", {"name": "psycopg2", "args": {}, "allow_unsafe_locale": True})
    )
    connection = psycopg2.connect(
        host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname=name
    )
    with LoggingContext(name="test", server_name="test"):
        wrapped = LoggingDatabaseConnection(
            conn=cast("Any", connection), engine=engine, default_txn_name="t", server_name="test"
        )
        engine.check_database(wrapped, allow_outdated_version=True)
        try:
            prepare_database(wrapped, engine, config=None)
        except psycopg2.Error as error:
            return type(error).__name__
    return ""


def outcome(postgres: Postgres, name: str, text: str | None) -> str:
    """Return how a start ends after one that was interrupted before the fourth script."""
    postgres.execute(f"CREATE DATABASE {name}")
    first = FORK.Process(target=prepare, args=(postgres.port, name, text, 3))
    first.start()
    first.join()
    assert first.exitcode == 9
    with FORK.Pool(1) as pool:
        return pool.apply(prepare, (postgres.port, name, text, None))


def test_a_start_after_an_interrupted_one_makes_all_tables(postgres: Postgres) -> None:
    assert outcome(postgres, "before", "event_fetchers") == "DuplicateTable"
    assert outcome(postgres, "after", None) == ""
    with postgres.connected("after") as cursor:
        cursor.execute("SELECT count(*) FROM schema_version")
        assert cursor.fetchone() == (1,)
        cursor.execute("SELECT count(*) FROM applied_schema_deltas")
        assert cursor.fetchone()[0] > 50
