"""One connection to PostgreSQL, shared by all checks, in read-only transactions."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from ganglion.doctor.unavailable import Unavailable

# Milliseconds. A check must not queue behind Synapse's locks, nor Synapse behind its.
LOCK_LIMIT = 200

# Makes an asynchronous connection of psycopg2, or raises.
Connect = Callable[[], Any]


class Unreachable(Exception):
    """The database does not answer. The argument is libpq's reason."""


class Database:
    """A connection that is made by the first check that asks.

    `wait` is how long its making may take, in seconds. Each query may take `limit` milliseconds:
    the checks share the connection, so none may keep it for long. `absent` is the reason why there
    is no PostgreSQL server to ask; None if there is one.
    """

    def __init__(
        self, connect: Connect, *, wait: float, limit: int, absent: str | None = None
    ) -> None:
        self._connect = connect
        self._wait = wait
        self.limit = limit
        self._absent = absent
        self._starting = threading.Lock()
        self._in_use = threading.Lock()
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self._error: Exception | None = None

    def connection(self) -> Any:  # noqa: ANN401 - psycopg2's
        """Return the connection. Raises Unreachable, and Unavailable if there is no server."""
        if self._absent is not None:
            raise Unavailable(self._absent)
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._open, daemon=True)
                self._thread.start()
        self._thread.join(self._wait)
        if self._error is not None:
            lines = str(self._error).strip().splitlines() or [type(self._error).__name__]
            raise Unreachable(lines[-1])
        if self._connection is None:
            raise Unreachable(f"it accepts no connection within {self._wait:g} s")
        return self._connection

    def _open(self) -> None:
        try:
            self._connection = self._connect()
        except Exception as error:  # noqa: BLE001 - each check that asks gets it
            self._error = error

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query.

        The transaction is read-only and rolled back, so that nothing stays in the session: it may
        be that of a pooler. Raises Unavailable if the database does not answer, which the check
        `database` reports, and psycopg2.Error.
        """
        try:
            connection = self.connection()
        except Unreachable as reason:
            raise Unavailable("the database does not answer") from reason
        with self._in_use:
            try:
                self._run(
                    connection,
                    "BEGIN READ ONLY;"
                    f" SET LOCAL statement_timeout = {self.limit};"
                    f" SET LOCAL lock_timeout = {LOCK_LIMIT}",
                )
                return self._run(connection, sql, parameters)
            finally:
                self._run(connection, "ROLLBACK")

    @staticmethod
    def _run(connection: Any, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:  # noqa: ANN401 - psycopg2's
        from psycopg2.extras import wait_select  # noqa: PLC0415

        cursor = connection.cursor()
        cursor.execute(sql, tuple(parameters) or None)
        wait_select(connection)
        return [] if cursor.description is None else cursor.fetchall()
