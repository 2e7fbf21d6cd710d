"""A read and a write in PostgreSQL, and its clock."""

import select
import time
from dataclasses import dataclass
from typing import Any

import psycopg2
from psycopg2 import errors
from psycopg2.extensions import POLL_OK, POLL_READ

from ganglion.programs.postgres import external
from ganglion.settings.variables import Settings

# A committed message in the write-ahead log: it needs no table and leaves nothing behind.
WRITE = "SELECT pg_logical_emit_message(true, 'ganglion', 'ready')"
READ = (
    "SELECT count(*), current_setting('transaction_read_only'),"
    " extract(epoch FROM clock_timestamp())::float8 FROM schema_version"
)
# A server that has no such function, or keeps it from this role.
NOT_TO_US = (errors.InsufficientPrivilege, errors.UndefinedFunction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Database:
    """`problem` is None if PostgreSQL can be read and written.

    `ahead` is how far this machine's clock is ahead of PostgreSQL's in seconds, None if unknown.
    """

    problem: str | None
    ahead: float | None = None


def connect(settings: Settings) -> Any:  # noqa: ANN401 - psycopg2's, asynchronous
    """Begin a connection, for which wait() waits. Raises psycopg2.Error.

    It is asynchronous: libpq itself would wait without limit for a server that hangs.
    """
    where: dict[str, Any] = {
        **external.arguments(settings),
        "host": settings.postgres_host or settings.paths.postgres_sockets,
    }
    # The file has the password even where this process lacks the variable.
    where.pop("password", None)
    where.setdefault("passfile", settings.paths.pgpass)
    return psycopg2.connect(**where, async_=True)


def read_and_write(settings: Settings, timeout: float) -> Database:
    """Read a table of Synapse's and commit a write, within `timeout` seconds in all."""
    until = time.monotonic() + timeout
    try:
        connection = connect(settings)
    except psycopg2.Error as error:
        return Database(problem=f"does not answer: {_lines(error)[-1]}")
    try:
        try:
            wait(connection, until)
        except psycopg2.Error as error:
            return Database(problem=f"does not answer: {_lines(error)[-1]}")
        return ask(connection, until)
    finally:
        connection.close()


def ask(connection: Any, until: float) -> Database:  # noqa: ANN401 - psycopg2's, asynchronous
    """Read and write over an open connection, until a monotonic time in seconds."""
    ahead = None
    try:
        cursor = connection.cursor()
        cursor.execute(READ)
        wait(connection, until)
        ((_, read_only, there),) = cursor.fetchall()
        ahead = time.time() - there
        if read_only == "on":
            return Database(problem="accepts no writes: it is read-only", ahead=ahead)
        cursor.execute(WRITE)
        wait(connection, until)
    except NOT_TO_US:
        # The read has worked; an external server's rules may keep this role from such a write.
        return Database(problem=None if ahead is not None else "cannot be read", ahead=ahead)
    except psycopg2.Error as error:
        return Database(problem=f"cannot be read and written: {_lines(error)[0]}", ahead=ahead)
    return Database(problem=None, ahead=ahead)


def wait(connection: Any, until: float) -> None:  # noqa: ANN401 - psycopg2's, asynchronous
    """Wait for the end of a connection's work. Raises OperationalError after its time."""
    while (state := connection.poll()) != POLL_OK:
        left = until - time.monotonic()
        if left <= 0:
            raise psycopg2.OperationalError("no response in time")
        waiting = [connection.fileno()]
        reads, writes = (waiting, []) if state == POLL_READ else ([], waiting)
        select.select(reads, writes, [], left)


def _lines(error: Exception) -> list[str]:
    # libpq indents questions to its user, such as "Is the server running locally?".
    lines = [line for line in str(error).splitlines() if line.strip() and line[0] != "\t"]
    return lines or [type(error).__name__]
