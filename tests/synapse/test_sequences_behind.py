"""The sequences of the installed Synapse: found in its code, compared, and moved forward."""

import contextlib
import multiprocessing
import threading
from collections.abc import Iterator
from typing import Any, cast

import psycopg2
import pytest
from synapse.logging.context import LoggingContext
from synapse.storage.database import LoggingDatabaseConnection
from synapse.storage.engines import PostgresEngine
from synapse.storage.prepare_database import prepare_database
from synapse.storage.util.sequence import PostgresSequenceGenerator

from ganglion.in_synapse import fixes
from ganglion.programs.postgres.sequences import (
    Rows,
    Sequence,
    State,
    forward,
    installed,
    repair,
    states,
)
from tests.dependencies import PASSWORD, Postgres
from tests.harness import WITHIN, wait_until

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    """A server whose database `whole` has Synapse's tables."""
    server = Postgres()
    server.start()
    server.execute("CREATE DATABASE whole")
    with LoggingContext(name="test", server_name="test"):
        wrapped, engine = synapses(server.port, "whole")
        engine.check_database(wrapped, allow_outdated_version=True)
        prepare_database(wrapped, engine, config=None)
        wrapped.close()
    yield server
    server.remove()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """A database of its own, with Synapse's tables."""
    postgres.execute("CREATE DATABASE broken TEMPLATE whole")
    yield "broken"
    postgres.execute("DROP DATABASE broken WITH (FORCE)")


def connect(port: int, name: str) -> Any:
    return psycopg2.connect(
        host="127.0.0.1", port=port, user="postgres", password=PASSWORD, dbname=name
    )


def synapses(port: int, name: str) -> tuple[LoggingDatabaseConnection, PostgresEngine]:
    """Connect as Synapse does at its start."""
    engine = PostgresEngine(
        cast("Any", {"name": "psycopg2", "args": {}, "allow_unsafe_locale": True})
    )
    wrapped = LoggingDatabaseConnection(
        conn=cast("Any", connect(port, name)),
        engine=engine,
        default_txn_name="test",
        server_name="test",
    )
    return wrapped, engine


def rows_of(cursor: Any) -> Rows:
    def rows(statement: str) -> list[tuple[Any, ...]]:
        cursor.execute(statement)
        return [] if cursor.description is None else cursor.fetchall()

    return rows


@contextlib.contextmanager
def rows_in(postgres: Postgres, name: str) -> Iterator[Rows]:
    with postgres.connected(name) as cursor:
        yield rows_of(cursor)


def found(rows: Rows) -> dict[str, State]:
    return {state.sequence.name: state for state in states(rows)}


def test_the_code_names_every_sequence_of_the_database(postgres: Postgres) -> None:
    known = installed()
    with rows_in(postgres, "whole") as rows:
        # Those of serial columns belong to their tables.
        there = rows(
            "SELECT relname::text FROM pg_class c WHERE relkind = 'S' AND NOT EXISTS"
            " (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('a', 'i'))"
        )
        assert {name for (name,) in there} == {item.name for item in known}
        assert len(there) > 15
        columns = rows("SELECT table_name::text, column_name::text FROM information_schema.columns")
    assert {pair for item in known for pair in item.columns} <= set(columns)
    assert [item.name for item in known if not item.columns] == ["user_id_seq"]
    streams = [item.stream for item in known if item.stream]
    assert len(streams) == len(set(streams))
    assert "quarantined_media" in streams


def test_a_new_database_has_no_sequence_behind(postgres: Postgres) -> None:
    with rows_in(postgres, "whole") as rows:
        compared = states(rows)
        known = installed()
        assert tuple(state.sequence for state in compared[: len(known)]) == known
        # Those of serial columns, which Synapse does not check.
        rest = {state.sequence.name: state.sequence for state in compared[len(known) :]}
        assert rest["sliding_sync_connections_connection_key_seq"].columns == (
            ("sliding_sync_connections", "connection_key"),
        )
        assert [state for state in compared if state.behind] == []


def test_a_database_without_synapses_tables_has_no_sequences(postgres: Postgres) -> None:
    with rows_in(postgres, "postgres") as rows:
        assert states(rows) == ()


def test_each_way_to_be_behind_is_found_and_repaired(postgres: Postgres, database: str) -> None:
    events = Sequence(
        name="events_stream_seq",
        stream="events",
        columns=(
            ("events", "stream_ordering"),
            ("current_state_delta_stream", "stream_id"),
            ("ex_outlier_stream", "event_stream_ordering"),
        ),
    )
    with rows_in(postgres, database) as rows:
        for stream, writer, number in (
            ("events", "one", 40),
            ("events", "two", 55),
            ("receipts", "one", 7),
            ("backfill", "one", 30),
        ):
            rows(f"INSERT INTO stream_positions VALUES ('{stream}', '{writer}', {number})")  # noqa: S608
        rows("SELECT setval('events_stream_seq', 50)")
        rows("SELECT setval('receipts_sequence', 7, true)")
        # Backfilled events have negative numbers.
        rows("INSERT INTO ex_outlier_stream VALUES (-44, '$a', 1, 'one'), (12, '$b', 1, 'one')")
        rows("INSERT INTO state_groups VALUES (9, '!a', '$a')")
        rows("INSERT INTO instance_map VALUES (4, 'one')")
        before = found(rows)
        assert before["events_stream_seq"] == State(
            sequence=events,
            value=50,
            position=55,
            used=12,
            where="ex_outlier_stream.event_stream_ordering",
        )
        behind = {name: item.greatest for name, item in before.items() if item.behind}
        assert behind == {
            "events_backfill_stream_seq": 44,
            "events_stream_seq": 55,
            "instance_map_instance_id_seq": 4,
            "state_group_id_seq": 9,
        }
        # Synapse itself moves one that is only behind a table.
        assert not before["state_group_id_seq"].stops_synapse
        assert before["events_stream_seq"].stops_synapse
        without = states(rows, tables=False)
        assert [item.sequence.name for item in without if item.behind] == [
            "events_backfill_stream_seq",
            "events_stream_seq",
        ]

        rows("BEGIN")
        mended = repair(rows, states(rows))
        rows("COMMIT")
        assert {item.sequence.name: item.greatest for item in mended} == behind
        after = found(rows)
        assert [item for item in after.values() if item.behind] == []
        for name, item in before.items():
            assert after[name].value == max(item.value, item.greatest)
        assert rows("SELECT nextval('events_stream_seq')") == [(56,)]
        assert repair(rows, states(rows)) == ()


def test_a_sequence_never_moves_back(postgres: Postgres, database: str) -> None:
    with rows_in(postgres, database) as rows:
        rows("SELECT setval('receipts_sequence', 80)")
        for least, value in ((20, 80), (80, 80), (81, 81)):
            for statement in forward("receipts_sequence", least):
                rows(statement)
            assert found(rows)["receipts_sequence"].value == value


def test_a_process_that_asks_meanwhile_gets_a_new_number(postgres: Postgres, database: str) -> None:
    given: list[int] = []

    def ask() -> None:
        with contextlib.closing(connect(postgres.port, database)) as other:
            cursor = other.cursor()
            cursor.execute("SELECT nextval('receipts_sequence')")
            given.append(cursor.fetchone()[0])

    waits = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND query LIKE '%nextval(''receipts_sequence'')%' AND pid <> pg_backend_pid()"
    )
    with rows_in(postgres, database) as rows, rows_in(postgres, "postgres") as watching:
        rows("BEGIN")
        lock, move = forward("receipts_sequence", 33)
        rows(lock)
        asking = threading.Thread(target=ask)
        asking.start()
        wait_until("wait for the lock", lambda: watching(waits) == [(1,)])
        rows(move)
        rows("COMMIT")
        asking.join(WITHIN)
    assert given == [34]


def check(port: int, name: str, text: str, role: str | None) -> str:
    """Check a sequence as Synapse's start does. Returns its error, if any."""
    fixes.apply(text)
    with LoggingContext(name="test", server_name="test"):
        wrapped, engine = synapses(port, name)
        engine.check_database(wrapped, allow_outdated_version=True)
        if role is not None:
            wrapped.cursor(txn_name="test").execute(f"SET ROLE {role}")
            wrapped.commit()
        generator = PostgresSequenceGenerator("receipts_sequence")
        try:
            generator.check_consistency(
                wrapped, table="receipts_linearized", id_column="stream_id", stream_name="receipts"
            )
        except RuntimeError as error:
            return str(error)
        finally:
            wrapped.close()
    return ""


def test_the_fix_moves_a_sequence_instead_of_stopping(postgres: Postgres, database: str) -> None:
    def start(text: str, role: str | None = None) -> str:
        with FORK.Pool(1) as pool:
            return pool.apply(check, (postgres.port, database, text, role))

    with rows_in(postgres, database) as rows:
        rows("INSERT INTO stream_positions VALUES ('receipts', 'one', 70)")
        rows("SELECT setval('receipts_sequence', 38)")
        assert "is inconsistent with associated stream position" in start("event_fetchers")

        # Of an operator who restored the tables as another role.
        rows("CREATE ROLE borrower")
        rows("GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO borrower")
        rows("GRANT SELECT, UPDATE ON ALL SEQUENCES IN SCHEMA public TO borrower")
        try:
            refused = start("all", "borrower")
        finally:
            rows("DROP OWNED BY borrower")
            rows("DROP ROLE borrower")
        assert refused.startswith(
            "The sequence receipts_sequence was at 38, behind 70 in stream_positions of receipts."
            " They would give out numbers again, and cannot be moved forward: must be owner of"
            " sequence receipts_sequence. As their owner, run: BEGIN;"
            " ALTER SEQUENCE receipts_sequence NO CYCLE; SELECT setval('receipts_sequence', 70)"
        )
        assert found(rows)["receipts_sequence"].value == 38

        assert start("all") == ""
        assert found(rows)["receipts_sequence"].value == 70
        assert start("event_fetchers") == ""
