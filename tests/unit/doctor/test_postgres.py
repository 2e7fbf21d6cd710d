"""Judgements of the database's server. tests/live/test_doctor.py breaks a real one."""

from dataclasses import replace

from ganglion.doctor.finding import Level
from ganglion.doctor.postgres import Collation, Connections, Server
from tests.doctoring import NoDatabase, assert_quiet, finding, findings, judged, place

SERVER = Server(
    where="the embedded server",
    version="17.6",
    encoding="UTF8",
    collate="C",
    ctype="C",
    remake='CREATE DATABASE "synapse"',
)
CONNECTIONS = Connections(
    used=20, usable=97, own=18, pools=60, waiting=(), terminate="psql …", embedded=True
)


def test_a_locale_that_synapse_does_not_accept() -> None:
    assert_quiet(judged("database", SERVER))
    wrong = replace(SERVER, encoding="SQL_ASCII", collate="en_US.UTF-8")
    (found,) = judged("database", wrong)
    assert found.level is Level.BAD
    assert "has encoding SQL_ASCII, LC_COLLATE en_US.UTF-8;" in found.message
    assert found.fix[-1] == 'CREATE DATABASE "synapse";'
    assert_quiet(judged("database", replace(SERVER, collate="en_US.UTF-8", any_locale=True)))


def test_a_database_that_takes_no_writes() -> None:
    (found,) = judged("database", replace(SERVER, follows=True, read_only="database"))
    assert found.level is Level.BAD
    assert found.message.startswith("the database is a standby, which takes no writes")
    for source, command in {
        "database": 'ALTER DATABASE "synapse" RESET',
        "user": 'ALTER ROLE "synapse" RESET',
        "database user": 'ALTER ROLE "synapse" IN DATABASE "synapse" RESET',
        "configuration file": "ALTER SYSTEM RESET",
    }.items():
        row = ("17.6", "UTF8", "C", "C", False, source)
        found = finding("database", place(database=NoDatabase({"server_version": [row]})))
        assert found.level is Level.BAD
        assert f"default_transaction_read_only is on (set by: {source})" in found.message
        assert f"{command} default_transaction_read_only" in found.fix[0]


def test_the_embedded_server_does_not_answer() -> None:
    (found,) = judged("database", Server(where="the embedded server", failure="no socket"))
    assert found.level is Level.BAD
    assert found.fix[0].startswith("docker restart NAME")


def test_a_collation_of_another_version() -> None:
    database = NoDatabase(
        {
            "server_version_num": [(170006,)],
            "datcollversion": [("DATABASE", "synapse", "2.36", "2.41")],
        }
    )
    found = finding("collation", place(database=database))
    assert found.level is Level.NOTICE
    assert "was made with collation version 2.36, and the system's is 2.41 now" in found.message
    assert "REINDEX DATABASE" in found.fix[0]
    assert "ALTER DATABASE synapse REFRESH COLLATION VERSION" in found.fix[0]
    assert_quiet(judged("collation", ()))
    (found,) = judged(
        "collation",
        (Collation(kind="DATABASE", name="d", recorded="1", actual=None, repair=("x",)),),
    )
    assert found.message.endswith("and the system's has none now")


def test_collations_before_postgresql_15_have_no_version() -> None:
    database = NoDatabase({"server_version_num": [(140011,)]})
    assert finding("collation", place(database=database)).level is Level.SKIPPED


def test_connections_that_run_out() -> None:
    assert_quiet(judged("connections", CONNECTIONS))
    (found,) = judged("connections", replace(CONNECTIONS, used=90, own=88))
    assert found.message == "90 of 97 connections are in use"
    (found,) = judged("connections", replace(CONNECTIONS, used=60, own=18))
    assert found.message == "the pools may open 60 connections, and others hold 42 of the 97"
    (found,) = judged(
        "connections", replace(CONNECTIONS, waiting=((7, 4000, "backup"),), embedded=False)
    )
    assert found.message == "the session 7 of backup has idled in a transaction for 4000 s"
    assert found.fix == ("psql …",)


def test_queries_that_wait_for_a_lock() -> None:
    row = (77, "pg_dump", "idle in transaction", 60, 4, 12.4)
    where = place(database=NoDatabase({"pg_blocking_pids": [row]}))
    found = finding("locks", where)
    assert found.level is Level.BAD
    assert found.message == (
        "4 queries wait for a lock, for up to 12 s: the session 77 of pg_dump has it"
        " (idle in transaction, in a transaction for 60 s)"
    )
    assert "SELECT pg_terminate_backend(77)" in found.fix[0]
    shortly = place(database=NoDatabase({"pg_blocking_pids": [(*row[:5], 0.2)]}))
    assert_quiet(findings("locks", shortly))
