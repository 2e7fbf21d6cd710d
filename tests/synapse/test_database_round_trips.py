"""Connections that open transactions themselves, beside those of psycopg2, on a real PostgreSQL."""

import contextlib
import io
import multiprocessing
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import psycopg2
import pytest
from psycopg2 import extensions, sql
from psycopg2.extras import execute_values
from synapse.logging.context import LoggingContext
from synapse.storage import database
from synapse.storage.engines import PostgresEngine

from ganglion.in_synapse import fixes
from ganglion.in_synapse.fixes.database_round_trips import Connection
from tests.dependencies import PASSWORD, Postgres

FORK = multiprocessing.get_context("fork")
STATEMENT = " LOG:  statement: "
# As much of a reactor as a pool needs that only makes connections.
REACTOR = SimpleNamespace(callWhenRunning=lambda *_: None, addSystemEventTrigger=lambda *_: None)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    server.start()
    server.execute(
        "CREATE TABLE rows (number int UNIQUE DEFERRABLE INITIALLY DEFERRED, text text)",
        "ALTER SYSTEM SET log_statement = 'all'",
        "ALTER SYSTEM SET log_line_prefix = '%a '",
        "SELECT pg_reload_conf()",
    )
    yield server
    server.remove()


def login(postgres: Postgres, name: str) -> dict[str, Any]:
    """Return the words of a login whose statements have this name in the server's log."""
    return {
        "host": "127.0.0.1",
        "port": postgres.port,
        "user": "postgres",
        "password": PASSWORD,
        "dbname": "postgres",
        "application_name": name,
    }


def sent(postgres: Postgres, name: str) -> list[str]:
    """Return the statements of the connections of this name: the first line of each."""
    log = (postgres.directory / "log").read_text()
    return [
        line.split(STATEMENT, 1)[1]
        for line in log.splitlines()
        if line.startswith(f"{name}{STATEMENT}")
    ]


@pytest.fixture(params=[extensions.connection, Connection], ids=["psycopg2", "ours"])
def connection(postgres: Postgres, request: pytest.FixtureRequest) -> Iterator[Any]:
    made = psycopg2.connect(**login(postgres, "kept"), connection_factory=request.param)
    made.set_isolation_level(extensions.ISOLATION_LEVEL_REPEATABLE_READ)
    with contextlib.closing(made), made.cursor() as cursor:
        cursor.execute("TRUNCATE rows")
        made.commit()
        yield made


def level(connection: Any) -> str:
    """Return the isolation level of a statement."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('transaction_isolation')")
        return str(cursor.fetchone()[0])


def open_transaction(connection: Any) -> bool:
    return bool(connection.status != extensions.STATUS_READY)


def rows(postgres: Postgres) -> int:
    with postgres.connected("postgres") as cursor:
        cursor.execute("SELECT count(*) FROM rows")
        return int(cursor.fetchone()[0])


def as_text(cursor: Any) -> None:
    cursor.execute("INSERT INTO rows VALUES (%s, %s)", (1, "100 % 'sure'"))


def as_bytes(cursor: Any) -> None:
    cursor.execute(b"INSERT INTO rows VALUES (1, 'x')")


def composed(cursor: Any) -> None:
    cursor.execute(sql.SQL("INSERT INTO {} VALUES (%s)").format(sql.Identifier("rows")), (1,))


def many(cursor: Any) -> None:
    cursor.executemany("INSERT INTO rows VALUES (%s)", [(1,)])


def values(cursor: Any) -> None:
    execute_values(cursor, "INSERT INTO rows VALUES %s", [(1, "a")])


def copied(cursor: Any) -> None:
    cursor.copy_expert("COPY rows FROM STDIN", io.StringIO("1\ta\n"))


def copied_from(cursor: Any) -> None:
    cursor.copy_from(io.StringIO("1\ta\n"), "rows")


def function(cursor: Any) -> None:
    cursor.execute(
        "CREATE FUNCTION pg_temp.add_row() RETURNS void LANGUAGE sql"
        " AS 'INSERT INTO public.rows VALUES (1)'"
    )
    cursor.connection.commit()
    cursor.callproc("pg_temp.add_row")


WRITES = [as_text, as_bytes, composed, many, values, copied, copied_from, function]


@pytest.mark.parametrize("write", WRITES)
def test_each_kind_of_statement_opens_a_transaction(
    postgres: Postgres, connection: Any, write: Callable[[Any], None]
) -> None:
    with connection.cursor() as cursor:
        write(cursor)
        assert cursor.rowcount == 1
        assert open_transaction(connection)
        assert level(connection) == "repeatable read"
        assert rows(postgres) == 0
        connection.commit()
    assert not open_transaction(connection)
    assert rows(postgres) == 1


@pytest.mark.parametrize("write", WRITES)
def test_a_transaction_is_rolled_back(
    postgres: Postgres, connection: Any, write: Callable[[Any], None]
) -> None:
    with connection.cursor() as cursor:
        write(cursor)
        connection.rollback()
        assert not open_transaction(connection)
        assert rows(postgres) == 0


def test_a_single_statement_has_no_transaction(postgres: Postgres, connection: Any) -> None:
    connection.set_session(autocommit=True)
    with connection.cursor() as cursor:
        as_text(cursor)
    assert connection.autocommit
    assert rows(postgres) == 1
    assert level(connection) == "read committed"
    connection.rollback()
    connection.commit()
    assert rows(postgres) == 1
    connection.set_session(autocommit=False)
    assert level(connection) == "repeatable read"
    connection.rollback()


@pytest.mark.parametrize(
    "number",
    [
        extensions.ISOLATION_LEVEL_READ_COMMITTED,
        extensions.ISOLATION_LEVEL_SERIALIZABLE,
        extensions.ISOLATION_LEVEL_REPEATABLE_READ,
        extensions.ISOLATION_LEVEL_READ_UNCOMMITTED,
    ],
)
def test_transactions_have_the_level_that_is_set(connection: Any, number: int) -> None:
    connection.set_isolation_level(number)
    assert connection.isolation_level == number
    found = level(connection).replace(" ", "_").upper()
    assert getattr(extensions, f"ISOLATION_LEVEL_{found}") == number
    connection.set_isolation_level(extensions.ISOLATION_LEVEL_REPEATABLE_READ)
    assert level(connection) == "repeatable read"
    connection.rollback()


def test_after_an_error_nothing_runs_until_the_rollback(
    postgres: Postgres, connection: Any
) -> None:
    with connection.cursor() as cursor:
        with pytest.raises(psycopg2.errors.DivisionByZero):
            cursor.execute("SELECT 1 / 0")
        with pytest.raises(psycopg2.errors.InFailedSqlTransaction):
            as_text(cursor)
        connection.rollback()
        as_text(cursor)
        connection.commit()
    assert rows(postgres) == 1


def test_a_commit_that_fails_says_so(postgres: Postgres, connection: Any) -> None:
    with connection.cursor() as cursor:
        as_text(cursor)
        as_bytes(cursor)
    with pytest.raises(psycopg2.errors.UniqueViolation):
        connection.commit()
    connection.rollback()
    assert rows(postgres) == 0
    assert not open_transaction(connection)


def test_a_block_commits_or_rolls_back(postgres: Postgres, connection: Any) -> None:
    with connection, connection.cursor() as cursor:
        as_text(cursor)
    assert rows(postgres) == 1
    with contextlib.suppress(KeyError), connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM rows")
        raise KeyError
    assert rows(postgres) == 1


def test_nothing_is_set_within_a_transaction(connection: Any) -> None:
    assert level(connection)
    with pytest.raises(psycopg2.ProgrammingError):
        connection.set_session(autocommit=True)
    connection.rollback()


def test_a_copy_to_a_file_sees_one_state(postgres: Postgres, connection: Any) -> None:
    with connection.cursor() as cursor:
        copy = io.StringIO()
        cursor.copy_to(copy, "rows")
        postgres.execute("INSERT INTO rows VALUES (1)")
        cursor.execute("SELECT count(*) FROM rows")
        assert cursor.fetchone() == (0,)
    connection.rollback()


def test_settings_that_it_does_not_have_are_refused(postgres: Postgres) -> None:
    made = psycopg2.connect(**login(postgres, "kept"), connection_factory=Connection)
    with contextlib.closing(made):
        with pytest.raises(psycopg2.NotSupportedError):
            made.set_session(readonly=True)
        with pytest.raises(ValueError, match="17"):
            made.set_session(isolation_level=17)


def test_a_lost_connection_says_so(postgres: Postgres, connection: Any) -> None:
    with connection.cursor() as cursor:
        as_text(cursor)
        postgres.execute(f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        with pytest.raises(psycopg2.OperationalError):
            as_text(cursor)
    assert connection.closed
    for action in (connection.commit, connection.rollback, connection.cursor):
        with pytest.raises(psycopg2.InterfaceError):
            action()


def work(where: dict[str, Any], text: str | None) -> type:
    """Do with a connection of Synapse's pool as its store does. Returns the connection's class."""
    fixes.apply(text)
    engine = PostgresEngine(cast("Any", {"name": "psycopg2", "args": where}))
    config: Any = SimpleNamespace(config=engine.config, name="master")
    with LoggingContext(name="test", server_name="test"):
        pool = database.make_pool(
            reactor=cast("Any", REACTOR),
            db_config=config,
            engine=engine,
            server_name="test",
        )
        connection = pool.connect()
        for _ in range(2):
            engine.attempt_to_set_autocommit(connection, True)
            with connection.cursor() as cursor:
                cursor.execute("SELECT 'single'")
            engine.attempt_to_set_autocommit(connection, False)
            connection.commit()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'first'")
            cursor.execute("SELECT 'second'")
        assert engine.in_transaction(connection)
        connection.commit()
        assert not engine.in_transaction(connection)
        assert "connection_factory" not in engine.config["args"]
    return type(connection)


def after_setup(statements: list[str]) -> list[str]:
    """Return the statements behind those with which Synapse sets up a connection."""
    return statements[statements.index("COMMIT") + 1 :]


def test_a_pool_of_synapse_asks_less_often(postgres: Postgres) -> None:
    with FORK.Pool(1) as pool:
        kind = pool.apply(work, (login(postgres, "before"), "event_fetchers"))
    assert kind is extensions.connection
    assert len(after_setup(sent(postgres, "before"))) > 6
    with FORK.Pool(1) as pool:
        kind = pool.apply(work, (login(postgres, "after"), None))
    assert kind is Connection
    assert after_setup(sent(postgres, "after")) == [
        "SELECT 'single'",
        "SELECT 'single'",
        "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 'first'",
        "SELECT 'second'",
        "COMMIT",
    ]
