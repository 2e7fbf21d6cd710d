"""Open a transaction together with its first statement, and a single statement without settings.

psycopg2 sends BEGIN by itself and waits for its answer before it sends the first statement. Before
and after a statement that needs no transaction it sets the isolation level of the session. With the
preset `complement` a message makes Synapse ask PostgreSQL 113 times, 36 of them for these; each
wakes two processes.

A connection of Synapse's pools sends `BEGIN …;` as part of the first statement instead. A single
statement is sent alone, at the isolation level of the session, as before.
"""

import copy
from typing import TYPE_CHECKING, Any, Self

import psycopg2
from psycopg2 import extensions
from synapse.storage import database
from synapse.storage.engines import PostgresEngine

from ganglion.in_synapse.fixes.source import digest

if TYPE_CHECKING:
    from collections.abc import Callable

# It introduced statements outside of a transaction.
REFERENCE = "https://github.com/matrix-org/synapse/pull/8456"

BEGIN = {
    extensions.ISOLATION_LEVEL_DEFAULT: "BEGIN",
    extensions.ISOLATION_LEVEL_READ_UNCOMMITTED: "BEGIN ISOLATION LEVEL READ UNCOMMITTED",
    extensions.ISOLATION_LEVEL_READ_COMMITTED: "BEGIN ISOLATION LEVEL READ COMMITTED",
    extensions.ISOLATION_LEVEL_REPEATABLE_READ: "BEGIN ISOLATION LEVEL REPEATABLE READ",
    extensions.ISOLATION_LEVEL_SERIALIZABLE: "BEGIN ISOLATION LEVEL SERIALIZABLE",
}


class Cursor(extensions.cursor):
    """A cursor that opens the transaction of its connection with the first statement."""

    connection: "Connection"

    def execute(self, query: Any, vars: Any = None) -> None:  # noqa: A002
        """Execute a statement."""
        begin = self.connection.due()
        if begin is not None:
            if isinstance(query, bytes):
                query = begin.encode() + b"; " + query
            else:
                text = query if isinstance(query, str) else query.as_string(self)
                query = f"{begin}; {text}"
        super().execute(query, vars)

    def executemany(self, query: Any, vars_list: Any) -> None:
        """Execute a statement for each row of values."""
        self._begin()
        super().executemany(query, vars_list)

    def callproc(self, procname: Any, parameters: Any = None) -> Any:
        """Call a function of the database."""
        self._begin()
        return super().callproc(procname, parameters)

    def copy_expert(self, *words: Any, **named: Any) -> None:
        """Copy between a table and a file."""
        self._begin()
        super().copy_expert(*words, **named)

    def copy_from(self, *words: Any, **named: Any) -> None:
        """Copy from a file."""
        self._begin()
        super().copy_from(*words, **named)

    def copy_to(self, *words: Any, **named: Any) -> None:
        """Copy to a file."""
        self._begin()
        super().copy_to(*words, **named)

    def _begin(self) -> None:
        begin = self.connection.due()
        if begin is not None:
            super().execute(begin)


class Connection(extensions.connection):
    """A connection that opens transactions by itself; psycopg2 leaves them to it.

    It has what Synapse uses: transactions with an isolation level, and statements without one. It
    has no cursors with a name, which are kept in the server.
    """

    def __init__(self, *words: Any, **named: Any) -> None:
        super().__init__(*words, **named)
        super().set_session(autocommit=True)
        self.cursor_factory = Cursor
        self._level: int = extensions.ISOLATION_LEVEL_DEFAULT
        self._single = False

    def due(self) -> str | None:
        """Return the statement that opens a transaction, unless one is open or none is wanted."""
        if self._single or self._open():
            return None
        return BEGIN[self._level]

    def _open(self) -> bool:
        return self.get_transaction_status() != extensions.TRANSACTION_STATUS_IDLE

    @property
    def status(self) -> int:
        """Whether a transaction is open, as psycopg2 says it."""
        return extensions.STATUS_BEGIN if self._open() else extensions.STATUS_READY

    @property
    def autocommit(self) -> bool:
        """Whether statements have no transaction."""
        return bool(self._single)

    @autocommit.setter
    def autocommit(self, single: Any) -> None:
        self.set_session(autocommit=single)

    @property
    def isolation_level(self) -> int:
        """The isolation level of transactions, one of psycopg2's."""
        return self._level

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        self.set_session(isolation_level=level)

    def set_isolation_level(self, level: Any) -> None:
        """Roll back, and set the isolation level of the transactions that follow."""
        self.rollback()
        if level == extensions.ISOLATION_LEVEL_AUTOCOMMIT:
            self.set_session(autocommit=True)
        else:
            self.set_session(isolation_level=level, autocommit=False)

    def set_session(
        self,
        isolation_level: Any = None,
        readonly: Any = None,
        deferrable: Any = None,
        autocommit: Any = None,
    ) -> None:
        """Set whether statements have a transaction, and its isolation level, one of psycopg2's.

        On a connection that is lost it does not fail: Synapse calls it after an error as well,
        which another error would hide. Raises psycopg2.ProgrammingError within a transaction,
        psycopg2.NotSupportedError for another setting, and ValueError for an unknown level.
        """
        if readonly is not None or deferrable is not None:
            raise psycopg2.NotSupportedError("only the isolation level and autocommit can be set")
        if not self.closed and self._open():
            raise psycopg2.ProgrammingError("set_session cannot be used inside a transaction")
        if isolation_level is not None:
            if isolation_level not in BEGIN:
                raise ValueError(f"isolation level: {isolation_level!r}")
            self._level = isolation_level
        if autocommit is not None:
            self._single = bool(autocommit)

    def commit(self) -> None:
        """Commit, if a transaction is open."""
        self._end("COMMIT")

    def rollback(self) -> None:
        """Roll back, if a transaction is open."""
        self._end("ROLLBACK")

    def reset(self) -> None:
        """Roll back, and return to the session's defaults."""
        self.rollback()
        super().reset()

    def __enter__(self) -> Self:
        """Begin a block that ends with a commit, or with a rollback after an error."""
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """End the block."""
        if kind is None:
            self.commit()
        else:
            self.rollback()

    def _end(self, statement: str) -> None:
        if self.closed:
            raise psycopg2.InterfaceError("connection already closed")
        if self._open():
            with self.cursor(cursor_factory=extensions.cursor) as cursor:
                cursor.execute(statement)


def fits() -> bool:
    """Return whether pools and transactions are made as this module knows it."""
    return (
        digest(database.make_pool) == "4740b305d66b4961"
        and digest(database.DatabasePool.runWithConnection) == "c4e3bd3b71d27485"
        and digest(PostgresEngine.on_new_connection) == "e6bbb58d2445ea2e"
        and digest(PostgresEngine.in_transaction) == "a617b6f582a0a6c1"
        and digest(PostgresEngine.attempt_to_set_autocommit) == "05538c19cf446ede"
        and digest(PostgresEngine.attempt_to_set_isolation_level) == "b626323a0cc0fd15"
    )


def apply() -> None:
    """Make the connections of pools by this module's class."""
    make_pool: Callable[..., Any] = database.make_pool

    def make_pool_of_these(*, db_config: Any, engine: Any, **named: Any) -> Any:
        if isinstance(engine, PostgresEngine):
            db_config = copy.copy(db_config)
            args = {**db_config.config.get("args", {}), "connection_factory": Connection}
            db_config.config = {**db_config.config, "args": args}
        return make_pool(db_config=db_config, engine=engine, **named)

    module: Any = database
    module.make_pool = make_pool_of_these
