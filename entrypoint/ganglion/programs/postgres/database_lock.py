"""One server for one external database, and each process once: advisory locks while it runs.

A container that runs everything holds one lock alone. A container that runs a part shares that lock
with the other parts, holds one lock alone for each process that must not run twice, and shares one
more: its number stands for the lists of writers, as parts with other lists corrupt the database.
https://www.postgresql.org/docs/current/explicit-locking.html#ADVISORY-LOCKS
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import psycopg2
import psycopg2.extensions

from ganglion.errors import ConfigError, Problem
from ganglion.programs.postgres import external
from ganglion.programs.synapse.options import shared_lists
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

# The name of the lock: the bytes of "ganglion" as a number.
KEY = int.from_bytes(b"ganglion")
# Held while tables are made or upgraded without main. No process has this name.
MIGRATION = "migration"
# The first of the two numbers of other locks: of a process, and of the lists.
PROCESS, LISTS = int.from_bytes(b"proc"), int.from_bytes(b"list")
HELD = "held"
_LOCKS = (
    " FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE locktype = 'advisory' AND granted"
    " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    " AND classid = %s AND objsubid = %s AND "
)
HOLDER = (
    f"SELECT coalesce(host(client_addr), 'this machine'), pid{_LOCKS}objid = %s"
    " AND pid <> pg_backend_pid() ORDER BY pid"
)
OTHERS = f"SELECT objid::bigint{_LOCKS}objid <> %s"
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """The claims of a container that runs a part of the topology.

    `processes` are those of its own that must run once. `lists` is a text of all lists by which
    processes share work.
    """

    processes: tuple[str, ...]
    lists: str


def claims(topology: Topology) -> Part:
    """Return the claims of a container that runs a part of a topology."""
    return Part(
        processes=tuple(process.name for process in topology.here if process.single),
        lists=shared_lists(topology),
    )


@contextlib.contextmanager
def held(settings: Settings, part: Part, tell: Tell) -> Iterator[None]:
    """Hold the locks of a part for a while. Waits for them for GANGLION_WAIT.

    Raises ConfigError if another container has one of them.
    """
    found = _get(external.arguments(settings), part, 0)
    if isinstance(found, str):
        tell(f"the database cannot be locked yet: {found or 'PostgreSQL is gone'}")
        found = _get(external.arguments(settings), part, settings.external_wait)
    if isinstance(found, str):
        raise refused(settings, found)
    with contextlib.closing(found):
        yield


def hold(
    arguments: dict[str, Any],
    limit: float,
    tell: Tell,
    *,
    part: Part | None = None,
    lost: float = LOST,
) -> None:
    """Get the locks and hold them, for ever. It blocks, so it has a process of its own.

    `arguments` are libpq's; `part` is None for a container that runs everything. First tells
    `held`, or after `limit` seconds to stop, and why; a session of a machine that has vanished
    holds the lock for half a minute. Later tells of losses, and to stop if another server still has
    the lock `lost` seconds after one.
    """
    connection = _get(arguments, part, 0)
    if isinstance(connection, str) and limit:
        tell(f"log the database cannot be locked yet: {connection or 'PostgreSQL is gone'}")
        connection = _get(arguments, part, limit)
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
        again = _get(arguments, part, lost)
        while isinstance(again, str):
            if again:
                tell(f"stop {again}")
                return
            again = _get(arguments, part, lost)
        connection = again
        tell("log the database is locked again")


def _get(
    arguments: dict[str, Any], part: Part | None, limit: float
) -> psycopg2.extensions.connection | str:
    """A connection that has the locks, or why it cannot have one; empty if none answers."""
    end = time.monotonic() + limit
    problem = ""
    while True:
        try:
            connection: psycopg2.extensions.connection = psycopg2.connect(**arguments)
            connection.autocommit = True
            with connection.cursor() as cursor:
                for statement in SESSION:
                    cursor.execute(statement)
                problem = _claim(cursor, part)
                if not problem:
                    return connection
            connection.close()
        except psycopg2.Error:
            problem = ""
        if time.monotonic() >= end:
            return problem
        time.sleep(AGAIN)


def _claim(cursor: psycopg2.extensions.cursor, part: Part | None) -> str:
    """Take the locks one after the other. Return why one cannot be had, empty if all are.

    The end of the connection gives back those that were taken.
    """
    first, second = KEY >> 32, KEY & (2**32 - 1)
    way = "pg_try_advisory_lock" if part is None else "pg_try_advisory_lock_shared"
    if not _taken(cursor, f"SELECT {way}(%s)", KEY):
        return f"another server uses it, at {_holder(cursor, first, second, 1)}"
    if part is None:
        return ""
    for name in part.processes:
        if not _taken(cursor, "SELECT pg_try_advisory_lock(%s, %s)", PROCESS, number(name)):
            holder = _holder(cursor, PROCESS, number(name), 2)
            return f"{name} runs already in another container, at {holder}"
    mine = number(part.lists)
    # Nobody holds this one alone. Only afterwards look for others: of two containers that start at
    # once, each finds the other.
    _taken(cursor, "SELECT pg_try_advisory_lock_shared(%s, %s)", LISTS, mine)
    cursor.execute(OTHERS, (LISTS, 2, mine))
    other = cursor.fetchone()
    if other is not None:
        return (
            "containers with other WORKERS run, or with replication encrypted and plain, at"
            f" {_holder(cursor, LISTS, other[0], 2)}: stop all of them before the first with new"
            " writers, senders, pushers or encryption starts"
        )
    return ""


def number(text: str) -> int:
    """Return the number of a text, as the second one of an advisory lock: 31 bits."""
    return int.from_bytes(sha256(text.encode()).digest()[:4]) >> 1


def _taken(cursor: psycopg2.extensions.cursor, query: str, *values: int) -> bool:
    cursor.execute(query, values)
    return cursor.fetchone() == (True,)


def _holder(cursor: psycopg2.extensions.cursor, first: int, second: int, kind: int) -> str:
    """The address of a session with the lock, as far as our role may see it.

    `kind` is how many numbers name the lock: objsubid of pg_locks.
    """
    cursor.execute(HOLDER, (first, kind, second))
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
                hint="stop the other server first, or name another database"
                if settings.partial
                else "stop the other server first, or name another database. Behind a pooler that"
                " shares sessions between clients, set GANGLION_DATABASE_LOCK=no",
            )
        ]
    )
