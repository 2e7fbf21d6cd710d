"""Transactions wait for PostgreSQL, and none that may be in the database is done twice.

Synapse's own pool and transactions run here, over a database that fails where a test wants it to.
"""

import socket
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, Self

import psycopg2
import pytest
from psycopg2.extensions import STATUS_BEGIN, STATUS_READY
from synapse.logging.context import LoggingContext
from synapse.storage import database, databases
from synapse.storage.database import DatabasePool, LoggingTransaction, PerformanceCounters
from synapse.storage.engines.postgres import PostgresEngine
from twisted.enterprise import adbapi
from twisted.internet import defer

from ganglion.in_synapse.fixes import database_waits
from ganglion.in_synapse.fixes.database_waits import LONGEST, MOST_LOSSES, Outage

READ, WRITE = "SELECT 1", "UPDATE users SET name = 'x'"
# How a statement fails: the connection is cut, or the answer is an error.
CUT, REJECT = "cut", "reject"


class Database:
    """Stands for psycopg2, connected to a server that fails as planned.

    `refusals` is how many connections it refuses. `fails` names the statements that fail, in their
    order, and how each of them does.
    """

    def __init__(self) -> None:
        self.refusals = 0
        self.fails: list[tuple[str, str]] = []
        self.done: list[str] = []
        self.connections: list[Connection] = []
        self.attempts = 0

    def connect(self, **_: Any) -> "Connection":
        self.attempts += 1
        if self.refusals:
            self.refusals -= 1
            raise psycopg2.OperationalError("the database system is starting up")
        self.connections.append(Connection(self))
        return self.connections[-1]


class Connection:
    """A connection of psycopg2's, as far as Synapse and adbapi use one."""

    def __init__(self, server: Database) -> None:
        self.server = server
        self.closed = 0
        self.status = STATUS_READY
        self.autocommit = False
        self.levels: list[int] = []
        self.ours, self.theirs = socket.socketpair()

    def fileno(self) -> int:
        return self.ours.fileno()

    def close(self) -> None:
        self.closed = 1
        self.ours.close()
        self.theirs.close()

    def cursor(self) -> "Cursor":
        if self.closed:
            raise psycopg2.InterfaceError("connection already closed")
        return Cursor(self)

    def set_session(self, *, autocommit: bool) -> None:
        self.autocommit = autocommit

    def set_isolation_level(self, level: int) -> None:
        self.levels.append(level)

    def commit(self) -> None:
        if self.closed:
            raise psycopg2.InterfaceError("connection already closed")
        if self.status != STATUS_READY:
            self.send("COMMIT")
            self.status = STATUS_READY

    def rollback(self) -> None:
        if self.closed:
            raise psycopg2.InterfaceError("connection already closed")
        self.status = STATUS_READY

    def send(self, sql: str) -> None:
        """Do a statement, unless it is to fail, or the server has ended the connection."""
        failure = None
        if self.server.fails and self.server.fails[0][0] == sql:
            _, failure = self.server.fails.pop(0)
        if failure == REJECT:
            raise psycopg2.errors.SerializationFailure
        if failure == CUT or self.theirs.fileno() < 0:
            self.closed = 2
            raise psycopg2.OperationalError("server closed the connection unexpectedly")
        self.server.done.append(sql)


class Cursor:
    """A cursor of psycopg2's."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def execute(self, sql: str, _parameters: object = ()) -> None:
        if not self.connection.autocommit:
            self.connection.status = STATUS_BEGIN
        self.connection.send(sql)

    def close(self) -> None:
        """Forget the result."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""


class Synapse:
    """Synapse's DatabasePool over such a database, whose threads are this one."""

    def __init__(self) -> None:
        self.server = Database()
        self.stops: list[Callable[[], None]] = []
        reactor = SimpleNamespace(
            callWhenRunning=lambda _: None,
            addSystemEventTrigger=lambda _phase, _event, call: self.stops.append(call),
        )
        make: Any = database_waits.WaitingPool
        self.connections: Any = make("psycopg2", cp_reactor=reactor, cp_reconnect=True)
        self.connections.wait("main")
        self.connections.dbapi = self.server
        self.connections.runWithConnection = lambda *rest, **named: defer.maybeDeferred(
            self.connections._runWithConnection, *rest, **named
        )
        pool: Any = DatabasePool.__new__(DatabasePool)
        pool.server_name = "test"
        pool.engine = PostgresEngine({"name": "psycopg2", "args": {}})
        pool._db_pool = self.connections
        pool._txn_limit = 0
        pool._current_txn_total_time = 0.0
        pool._txn_perf_counters = PerformanceCounters()
        self.pool = pool

    def do(self, *statements: str, tell: Callable[[int], None] | None = None, **named: Any) -> int:
        """Do a transaction of these statements. Returns the number of attempts it took."""
        attempts = 0

        def interaction(txn: LoggingTransaction) -> int:
            nonlocal attempts
            attempts += 1
            if tell is not None:
                txn.call_after(tell, attempts)
            for statement in statements:
                txn.execute(statement)
            return attempts

        with LoggingContext(name="test", server_name="test"):
            found = defer.ensureDeferred(self.pool.runInteraction("test", interaction, **named))
        results: list[Any] = []
        found.addBoth(results.append)
        if isinstance(results[0], int):
            return results[0]
        error: Exception = results[0].value
        error.add_note(f"attempts: {attempts}")
        raise error


@pytest.fixture
def synapse(monkeypatch: pytest.MonkeyPatch) -> Iterator[Synapse]:
    """With the fix, which is taken back afterwards."""
    for owner, name, _ in database_waits.KNOWN:
        monkeypatch.setattr(owner, name, getattr(owner, name))
    monkeypatch.setattr(databases, "make_conn", databases.make_conn)
    database_waits.apply()
    made = Synapse()
    yield made
    for connection in made.server.connections:
        connection.close()


def test_a_connection_is_waited_for(synapse: Synapse) -> None:
    synapse.server.refusals = 3
    assert synapse.do(WRITE) == 1
    assert synapse.server.done == [WRITE, "COMMIT"]


def test_a_connection_that_the_server_has_closed_is_replaced(synapse: Synapse) -> None:
    synapse.do(READ)
    (first,) = synapse.server.connections
    first.theirs.close()
    # Even one whose outcome would be unknown if it were sent.
    assert synapse.do(WRITE, db_autocommit=True) == 1
    assert first.closed


def test_a_connection_on_which_the_server_says_something_is_kept(synapse: Synapse) -> None:
    """It tells its clients when its configuration is read again."""
    synapse.do(READ)
    (first,) = synapse.server.connections
    first.theirs.send(b"S")
    assert synapse.do(READ) == 1
    assert synapse.server.connections == [first]


def test_a_transaction_is_done_again(synapse: Synapse) -> None:
    """With the callbacks of both attempts, as Synapse has it: each may have taken a position."""
    told: list[int] = []
    synapse.server.fails = [(WRITE, CUT), (WRITE, CUT)]
    assert synapse.do(READ, WRITE, tell=told.append) == 3
    assert synapse.server.done == [READ, READ, READ, WRITE, "COMMIT"]
    assert told == [1, 2, 3]


def test_a_transaction_waits_for_the_server_between_its_attempts(synapse: Synapse) -> None:
    synapse.do(READ)
    synapse.server.fails, synapse.server.refusals = [(WRITE, CUT)], 2
    assert synapse.do(WRITE) == 2


def test_a_commit_without_an_answer_is_not_repeated(synapse: Synapse) -> None:
    synapse.server.fails = [("COMMIT", CUT)]
    with pytest.raises(adbapi.ConnectionLost) as caught:
        synapse.do(WRITE)
    assert caught.value.__notes__ == ["attempts: 1"]
    # The next one has another connection.
    assert synapse.do(WRITE) == 1


def test_reads_are_repeated_even_after_their_commit(synapse: Synapse) -> None:
    synapse.server.fails = [("COMMIT", CUT)]
    assert synapse.do(READ) == 2


def test_a_commit_that_is_rejected_is_done_again(synapse: Synapse) -> None:
    """It was answered, so a connection that is lost after it is no obstacle."""
    synapse.server.fails = [("COMMIT", REJECT), (WRITE, CUT)]
    assert synapse.do(WRITE) == 3


def test_a_write_that_commits_itself_is_not_repeated(synapse: Synapse) -> None:
    synapse.server.fails = [(WRITE, CUT)]
    with pytest.raises(adbapi.ConnectionLost) as caught:
        synapse.do(WRITE, db_autocommit=True)
    assert caught.value.__notes__ == ["attempts: 1"]


def test_a_repeated_read_has_its_session_as_before(synapse: Synapse) -> None:
    synapse.server.fails = [(READ, CUT)]
    assert synapse.do(READ, db_autocommit=True) == 2
    assert "COMMIT" not in synapse.server.done
    synapse.server.fails = [(READ, CUT)]
    assert synapse.do(READ, isolation_level=3) == 2
    engine = synapse.pool.engine
    assert synapse.server.connections[-1].levels == [
        engine.isolation_level_map[3],
        engine.default_isolation_level,
    ]


def test_a_transaction_that_makes_the_server_crash_is_given_up(synapse: Synapse) -> None:
    synapse.server.fails = [(WRITE, CUT)] * 100
    with pytest.raises(adbapi.ConnectionLost) as caught:
        synapse.do(WRITE)
    assert caught.value.__notes__ == [f"attempts: {MOST_LOSSES + 1}"]


def test_a_process_that_ends_waits_for_nothing(synapse: Synapse) -> None:
    synapse.server.refusals = 100
    for stop in synapse.stops:
        stop()
    with pytest.raises(psycopg2.OperationalError, match="starting up"):
        synapse.do(READ)
    assert synapse.server.attempts == 1


def test_a_database_that_stays_away_fails_transactions_at_once() -> None:
    """They wait for LONGEST together, not each of them."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 1.0
        return now

    server = Database()
    server.refusals = 1000
    outage = Outage("main", clock)
    with pytest.raises(psycopg2.OperationalError):
        outage.connected(server.connect)
    tried = server.attempts
    assert 2 < tried < LONGEST
    for _ in range(3):
        with pytest.raises(psycopg2.OperationalError):
            outage.connected(server.connect)
    assert server.attempts == tried + 3
    server.refusals = 0
    made = outage.connected(server.connect)
    # The next outage is waited for again.
    server.refusals = 1
    again = outage.connected(server.connect)
    for connection in (made, again):
        connection.close()


def test_an_old_outage_is_another_one() -> None:
    """Where nobody asked meanwhile, nobody knows that the database was there."""
    now = 0.0
    server = Database()
    outage = Outage("main", lambda: now)
    outage.ending.set()
    server.refusals = 1
    with pytest.raises(psycopg2.OperationalError):
        outage.connected(server.connect)
    outage.ending.clear()
    now = 2 * LONGEST
    server.refusals = 1
    outage.connected(server.connect).close()


def test_the_first_connection_of_a_process_is_waited_for(synapse: Synapse) -> None:
    """Synapse opens it before its pools, to check its schema."""
    server = synapse.server
    server.refusals = 2
    engine = synapse.pool.engine
    engine.module = server
    engine.on_new_connection = lambda _: None
    made: Any = databases.make_conn(
        db_config=SimpleNamespace(name="main", config={"args": {}}),
        engine=engine,
        default_txn_name="test",
        server_name="test",
    )
    made.close()
    assert server.attempts == 3
    assert database.make_conn is databases.make_conn
