"""One server for one external database: an advisory lock that a running server holds."""

import time
from collections.abc import Callable
from typing import Any

import psycopg2
import psycopg2.extensions

from ganglion.errors import ConfigError, Problem
from ganglion.settings.variables import Settings

# The name of the lock: the bytes of "ganglion" as a number.
KEY = int.from_bytes(b"ganglion")
HELD = "held"
# In seconds: between two looks at a lock that is held, and between two attempts to get it.
EVERY, AGAIN = 5.0, 1.0
# In seconds: after the loss of the connection, how long another session may keep the lock. It is
# our own one until PostgreSQL notices that its client is gone.
LOST = 60.0
# PostgreSQL drops the session of a machine that has vanished after 10 s + 3 times 5 s, in place of
# two hours: https://www.postgresql.org/docs/current/runtime-config-connection.html
SESSION = (
    "SET tcp_keepalives_idle = 10",
    "SET tcp_keepalives_interval = 5",
    "SET tcp_keepalives_count = 3",
    "SET application_name = 'ganglion lock'",
)

Tell = Callable[[str], None]


def hold(arguments: dict[str, Any], limit: float, tell: Tell, *, lost: float = LOST) -> None:
    """Get the lock and hold it, for ever. It blocks, so it has a process of its own.

    `arguments` are libpq's. First tells `held`, or after `limit` seconds to stop, and why; a
    session of a machine that has vanished holds the lock for half a minute. Later tells of
    losses, and to stop if another server still has the lock `lost` seconds after one.
    """
    connection = _get(arguments, 0)
    if isinstance(connection, str) and limit:
        tell(f"log the database cannot be locked yet: {connection or 'PostgreSQL is gone'}")
        connection = _get(arguments, limit)
    if isinstance(connection, str):
        tell(f"stop {connection or 'cannot be locked: PostgreSQL does not answer'}")
        return
    tell(HELD)
    while True:
        time.sleep(EVERY)
        if _lives(connection):
            continue
        connection.close()
        tell("log the connection that holds the database's lock was lost")
        again = _get(arguments, lost)
        while isinstance(again, str):
            if again:
                tell(f"stop {again}")
                return
            again = _get(arguments, lost)
        connection = again
        tell("log the database is locked again")


def _get(arguments: dict[str, Any], limit: float) -> psycopg2.extensions.connection | str:
    """A connection that has the lock, or the holder of the lock; empty if none answers."""
    end = time.monotonic() + limit
    problem = ""
    while True:
        try:
            connection: psycopg2.extensions.connection = psycopg2.connect(**arguments)
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in SESSION:
                    cursor.execute(statement)
                cursor.execute("SELECT pg_try_advisory_lock(%s)", (KEY,))
                if cursor.fetchone() == (True,):
                    return connection
                problem = f"another server uses it, at {_holder(cursor)}"
            connection.close()
        except psycopg2.Error:
            problem = ""
        if time.monotonic() >= end:
            return problem
        time.sleep(AGAIN)


def _holder(cursor: psycopg2.extensions.cursor) -> str:
    """The address of the session with the lock, as far as our role may see it."""
    cursor.execute(
        "SELECT coalesce(host(client_addr), 'this machine'), pid FROM pg_locks"
        " JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
        " AND (classid::bigint << 32) + objid::bigint = %s AND database ="
        " (SELECT oid FROM pg_database WHERE datname = current_database())",
        (KEY,),
    )
    found = cursor.fetchone()
    return (
        "an unknown address" if found is None else f"{found[0]} (PostgreSQL's process {found[1]})"
    )


def _lives(connection: psycopg2.extensions.connection) -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except psycopg2.Error:
        return False
    return True


def refused(settings: Settings, reason: str) -> ConfigError:
    """The error of a start whose database cannot be locked, for the reason that hold() told."""
    return ConfigError(
        [
            Problem(
                variable="POSTGRES_DB",
                value=settings.postgres_db,
                message=reason or "cannot be locked: its process has failed, as printed above",
                hint="stop the other server first, or name another database. Behind a pooler that"
                " shares sessions between clients, set GANGLION_DATABASE_LOCK=no",
            )
        ]
    )
