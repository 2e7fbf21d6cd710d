"""Have transactions wait while PostgreSQL restarts, instead of failing.

A restarted PostgreSQL cuts all connections, and refuses new ones until it has recovered. Synapse
notices a lost connection only when it uses it. The request then fails, once for each connection of
each pool. Here a connection that PostgreSQL has closed is replaced before it is used, a new one is
waited for, and a transaction whose connection is lost is done again. All of that takes LONGEST at
most, counted from the first refusal: after that, transactions fail at once until PostgreSQL answers
again. So threads and requests do not pile up.

A transaction that may be in the database already is never repeated: if its COMMIT was sent and not
answered, the request fails as before. Its outcome could be asked for by its number, which would
cost each transaction another question. Without a COMMIT of their own (autocommit) only reads are
repeated. Callbacks accumulate over the attempts, as Synapse defines it: each attempt may have
taken a position of a stream, and its callback gives it back.
"""

import logging
import select
import threading
import time
from collections.abc import Callable
from typing import Any, Self, TypeVar

import psycopg2
from psycopg2.extensions import STATUS_READY
from synapse.storage import database, databases
from synapse.storage.engines.postgres import PostgresEngine
from twisted.enterprise import adbapi

from ganglion.in_synapse.fixes.source import digest

REFERENCE = "https://github.com/element-hq/synapse/issues/9779"

# In seconds: how long a database may be away before transactions fail.
LONGEST = 10.0
# In seconds: between two attempts to connect. Each of them costs PostgreSQL a process.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.4
# How often one transaction may lose its connection: it may be the one that makes PostgreSQL crash.
MOST_LOSSES = 3
# In seconds: libpq's own limit for one attempt, which is none. A unit of one second is its least.
CONNECT_TIMEOUT = 5

LOG = logging.getLogger(__name__)
T = TypeVar("T")

# Functions of Synapse and Twisted that are replaced, or that the module relies on.
KNOWN = (
    (database.DatabasePool, "new_transaction", "c74eff748e8fc766"),
    (database.DatabasePool, "runWithConnection", "c4e3bd3b71d27485"),
    (database.LoggingTransaction, "_do_execute", "aeafdb2d77db237d"),
    (database, "make_pool", "4740b305d66b4961"),
    (database, "make_conn", "ace5cd94f0552ac0"),
    (PostgresEngine, "attempt_to_set_autocommit", "05538c19cf446ede"),
    (PostgresEngine, "attempt_to_set_isolation_level", "b626323a0cc0fd15"),
    (adbapi.Connection, "rollback", "61b1087817410bfd"),
    (adbapi.Connection, "reconnect", "f1ee2301c1ca4190"),
    (adbapi.ConnectionPool, "_runWithConnection", "36cac933660c163b"),
    (adbapi.ConnectionPool, "connect", "53141e954cf21b28"),
    (adbapi.ConnectionPool, "disconnect", "02a240a6aa64790e"),
)

# The pooled connection that a thread works with.
_here = threading.local()


def fits() -> bool:
    """Return whether transactions and connections are as this module knows them."""
    return all(digest(getattr(owner, name)) == known for owner, name, known in KNOWN)


def apply() -> None:
    """Replace the pools of connections to PostgreSQL, and repeat their transactions."""
    pool: Any = database.DatabasePool
    transaction: Any = database.LoggingTransaction
    modules: tuple[Any, ...] = (database, databases)
    pool.new_transaction = _repeated(pool.new_transaction)
    transaction._do_execute = _noting_writes(transaction._do_execute)
    modules[0].make_pool = _waiting_pools(database.make_pool)
    make_conn = _waiting_connections(database.make_conn)
    for module in modules:
        module.make_conn = make_conn


class Outage:
    """The time for which a database refuses connections.

    `ending` is set when the process ends: nothing waits after that.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.ending = threading.Event()
        self._name = name
        self._clock = clock
        # One thread asks at a time, for all.
        self._asking = threading.Lock()
        self._since: float | None = None
        self._refused_at = 0.0
        self._is_reported = False

    def connected(self, connect: Callable[[], T]) -> T:
        """Return the result of `connect`, which is called until it raises no psycopg2.Error.

        Raises the last of these errors where LONGEST is over.
        """
        try:
            found = connect()
        except psycopg2.Error as error:
            return self._wait(connect, error)
        self._end()
        return found

    def _wait(self, connect: Callable[[], T], error: psycopg2.Error) -> T:
        deadline = self._begin(error)
        pause = FIRST_PAUSE
        while True:
            left = deadline - self._clock()
            if left <= 0 or self.ending.is_set() or not self._asking.acquire(timeout=left):
                self._report(error)
                raise error
            try:
                # Another thread may have found it back.
                if self._since is not None and self.ending.wait(min(pause, left)):
                    raise error
                found = connect()
            except psycopg2.Error as again:
                error, pause = again, min(LONGEST_PAUSE, 2 * pause)
                self._refused_at = self._clock()
                continue
            finally:
                self._asking.release()
            self._end()
            return found

    def _begin(self, error: psycopg2.Error) -> float:
        """Note a refusal. Returns the time until which to wait."""
        now = self._clock()
        since = self._since
        if since is None or now - self._refused_at > LONGEST:
            self._since = since = now
            self._is_reported = False
            LOG.warning("%s does not answer; requests wait for it: %s", self._name, _line(error))
        self._refused_at = now
        return since + LONGEST

    def _report(self, error: psycopg2.Error) -> None:
        if not self._is_reported and not self.ending.is_set():
            self._is_reported = True
            text = "%s has not answered for %.0f s; requests fail until it does: %s"
            LOG.error(text, self._name, LONGEST, _line(error))

    def _end(self) -> None:
        since, self._since = self._since, None
        if since is not None:
            took = self._clock() - since
            LOG.warning("%s answers again after %.1f s", self._name, took)


def _line(error: psycopg2.Error) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


class WaitingConnection(adbapi.Connection):
    """A pool's connection, as one call of runWithConnection has it.

    `is_final` says that the work since the last begin() may be in the database.
    """

    _connection: Any
    _pool: Any

    def __init__(self, pool: Any) -> None:
        self._autocommit = False
        self._isolation_level: int | None = None
        self._has_written = False
        self.is_final = False
        super().__init__(pool)  # type: ignore[no-untyped-call]
        _here.connection = self

    @property
    def is_lost(self) -> bool:
        """Whether the connection was seen to be closed."""
        return bool(self._connection.closed)

    @property
    def is_in_transaction(self) -> bool:
        """Whether one is open, on a connection that is not lost."""
        return bool(not self.is_lost and self._connection.status != STATUS_READY)

    def begin(self) -> None:
        """Begin work that can be repeated."""
        self._has_written = self.is_final = False

    def note_write(self) -> None:
        """Note a statement that may change something."""
        self._has_written = True
        self.is_final |= self._autocommit

    def commit(self) -> None:
        """Commit. Final from the moment in which it is sent, unless PostgreSQL rejects it."""
        if not self.is_in_transaction and not self.is_lost:
            return
        self.is_final |= self._has_written
        try:
            self._connection.commit()
        except psycopg2.Error:
            if not self.is_lost:
                self.is_final = False
            raise

    def rollback(self) -> None:
        """Roll back. Raises ConnectionLost, once, where the connection is lost."""
        if not self.is_lost:
            super().rollback()  # type: ignore[no-untyped-call]
        elif self._forget():
            raise adbapi.ConnectionLost

    def reconnect(self) -> None:
        """Connect anew, which may wait, with the session as it was set."""
        if self._connection is not None:
            self._forget()
        self._connection = self._pool.connect()
        if self._autocommit:
            self._connection.set_session(autocommit=True)
        if self._isolation_level is not None:
            self._connection.set_isolation_level(self._isolation_level)

    def set_session(self, **named: Any) -> None:
        """Set the session. A lost connection is left alone: the next one is set up as it begins."""
        self._autocommit = named.get("autocommit", self._autocommit)
        if not self.is_lost:
            self._connection.set_session(**named)

    def set_isolation_level(self, level: int) -> None:
        """Set the isolation level, as set_session."""
        self._isolation_level = level
        if not self.is_lost:
            self._connection.set_isolation_level(level)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Commit, or roll back after an error, as psycopg2's own connection does."""
        if kind is None:
            self.commit()
        else:
            self.rollback()

    def repeat(self, transaction: Callable[[], T]) -> T:
        """Return the result of a transaction, which is done again if its connection is lost."""
        if self.is_in_transaction:
            # It is only a part of one.
            return transaction()
        losses = 0
        while True:
            self.begin()
            try:
                return transaction()
            except (psycopg2.Error, adbapi.ConnectionLost):
                losses += 1
                is_repeatable = self.is_lost and not self.is_final and losses <= MOST_LOSSES
                if not is_repeatable or self._pool.outage.ending.is_set():
                    raise
            self.reconnect()

    def _forget(self) -> bool:
        """Take the connection out of its pool. Returns whether it was there."""
        if self._pool.connections.get(self._pool.threadID()) is not self._connection:
            return False
        self._pool.disconnect(self._connection)
        return True


class WaitingPool(adbapi.ConnectionPool):
    """A pool whose connections work when they are handed out."""

    connectionFactory = WaitingConnection  # noqa: N815 - Twisted's name
    outage: Outage

    def wait(self, name: str) -> None:
        """Begin to wait for the database of this name, until the process ends."""
        self.outage = Outage(name)
        self.connkw.setdefault("connect_timeout", CONNECT_TIMEOUT)
        self._reactor.addSystemEventTrigger("before", "shutdown", self.outage.ending.set)

    def connect(self) -> Any:
        """Return this thread's connection, another one if PostgreSQL has closed it."""
        held = self.connections.get(self.threadID())  # type: ignore[no-untyped-call]
        if held is not None:
            if is_alive(held):
                return held
            self.disconnect(held)  # type: ignore[no-untyped-call]
        return self.outage.connected(super().connect)


def is_alive(connection: Any) -> bool:
    """Return whether an idle connection still works.

    PostgreSQL says nothing on an idle one, except that it ends it, or has read its configuration
    again; only then is it asked. So this costs one poll(2).
    """
    if connection.closed:
        return False
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return True
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        connection.rollback()
    except psycopg2.Error:
        return False
    return True


def _repeated(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return DatabasePool.new_transaction with a second attempt for a lost connection."""

    def new_transaction(self: Any, conn: Any, *rest: Any, **named: Any) -> Any:
        pooled = conn.conn
        if not isinstance(pooled, WaitingConnection):
            return original(self, conn, *rest, **named)
        return pooled.repeat(lambda: original(self, conn, *rest, **named))

    return new_transaction


def _noting_writes(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return LoggingTransaction._do_execute, which tells the connection of each write."""

    def do_execute(self: Any, func: Any, sql: str, *rest: Any, **named: Any) -> Any:
        if sql.lstrip()[:6].upper() != "SELECT":
            pooled: WaitingConnection | None = getattr(_here, "connection", None)
            if pooled is not None:
                pooled.note_write()
        return original(self, func, sql, *rest, **named)

    return do_execute


def _waiting_pools(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return make_pool, with pools that wait for PostgreSQL."""

    def make_pool(**named: Any) -> Any:
        pool = original(**named)
        if isinstance(named["engine"], PostgresEngine):
            pool.__class__ = WaitingPool
            pool.wait(f"the database {named['db_config'].name!r}")
        return pool

    return make_pool


def _waiting_connections(original: Callable[..., Any]) -> Callable[..., Any]:
    """Return make_conn, which a process calls before its reactor runs. SIGTERM ends it."""

    def make_conn(**named: Any) -> Any:
        if not isinstance(named["engine"], PostgresEngine):
            return original(**named)
        outage = Outage(f"the database {named['db_config'].name!r}")
        return outage.connected(lambda: original(**named))

    return make_conn
