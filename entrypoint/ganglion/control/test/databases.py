"""Replace the database that Synapse uses by a clean one.

Embedded server: a clean copy is ready, and is renamed into place. SQLite: the file is removed.
External server: other people may administer it, and settings, grants and connection poolers refer
to its databases by name. So databases are neither created nor renamed there; all tables are dropped
and main creates them again, which takes seconds longer.
"""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import psycopg2
import psycopg2.extensions
from psycopg2 import sql

from ganglion.control.config import DatabaseConfig
from ganglion.control.refusal import Refusal
from ganglion.programs.postgres.cluster import CLEAN
from ganglion.programs.postgres.test_mark import TABLE

# Two databases besides the clean one: its copy for the next reset, and the database that the last
# reset replaced.
NEXT, OLD = "ganglion_next", "ganglion_old"
# The database to connect to for statements about other databases.
MAINTENANCE = "postgres"
# In seconds: libpq's limit for one attempt.
CONNECT_TIMEOUT = 5
# In seconds: how long PostgreSQL may take to end a connection.
ENDED_WITHIN = 10.0


class Database(Protocol):
    """The database as a reset needs it. A new kind is a class, and a line of database_at.

    No Synapse process has it open during `exchange` and `keep`.
    """

    def prepare(self) -> None:
        """Do everything that can be done while Synapse runs. Called from several threads."""

    def exchange(self) -> bool:
        """Put a clean or an empty database in place.

        Returns whether Synapse must create its tables first, and `keep` must be called then.
        """

    def keep(self) -> None:
        """Keep a copy of the database in place, as the clean one of later resets."""


def database_at(config: DatabaseConfig) -> Database:
    """Return the database of a server."""
    if config.sqlite is not None:
        return Sqlite(Path(config.sqlite))
    return Embedded(config) if config.embedded else External(config)


@contextlib.contextmanager
def _connected(config: DatabaseConfig, database: str) -> Iterator[psycopg2.extensions.cursor]:
    """Connect to a database. Yields a cursor that commits each statement by itself."""
    passfile: dict[str, Any] = {} if config.passfile is None else {"passfile": config.passfile}
    connection = psycopg2.connect(
        host=config.host,
        port=config.port,
        user=config.administrator or config.user,
        dbname=database,
        sslmode=config.sslmode,
        connect_timeout=CONNECT_TIMEOUT,
        **passfile,
    )
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


def _end_connections(cursor: psycopg2.extensions.cursor, database: str) -> None:
    """End every other connection to a database, and wait until they are closed."""
    deadline = time.monotonic() + ENDED_WITHIN
    while True:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> pg_backend_pid()",
            (database,),
        )
        if not cursor.fetchall():
            return
        if time.monotonic() > deadline:
            raise Refusal(
                409,
                f"connections to the database {database} stay open;"
                " disconnect their clients and try again",
            )
        time.sleep(0.002)


class Sqlite:
    """A file. Main creates it again if there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self) -> None:
        """Do nothing: the work must wait until Synapse has ended."""

    def exchange(self) -> bool:
        """Remove the file, and the files that SQLite keeps for it."""
        for ending in ("", "-journal", "-wal", "-shm"):
            self._path.with_name(f"{self._path.name}{ending}").unlink(missing_ok=True)
        return False

    def keep(self) -> None:
        """Do nothing: there is no place for a copy."""


class Embedded:
    """The embedded server, where the application administers every database."""

    def __init__(self, config: DatabaseConfig) -> None:
        self._config = config
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Copy the clean database for the next reset, and drop the one replaced last."""
        with self._lock, _connected(self._config, MAINTENANCE) as cursor:
            found = self._names(cursor)
            if CLEAN in found and NEXT not in found:
                self._create(cursor, NEXT, CLEAN)
            if OLD in found:
                self._run(cursor, "DROP DATABASE {} WITH (FORCE)", OLD)

    def exchange(self) -> bool:
        """Rename the copy into place.

        Both names change in one transaction, so a server that is stopped in the middle of it has
        one database or the other.
        """
        live = self._config.name
        with self._lock, _connected(self._config, MAINTENANCE) as cursor:
            found = self._names(cursor)
            if OLD in found:
                self._run(cursor, "DROP DATABASE {} WITH (FORCE)", OLD)
            if NEXT not in found:
                self._create(cursor, NEXT, "template0")
            _end_connections(cursor, live)
            cursor.execute("BEGIN")
            self._run(cursor, "ALTER DATABASE {} RENAME TO {}", live, OLD)
            self._run(cursor, "ALTER DATABASE {} RENAME TO {}", NEXT, live)
            cursor.execute("COMMIT")
            return CLEAN not in found

    def keep(self) -> None:
        """Copy the database in place, which is clean, to the template of later copies."""
        with self._lock, _connected(self._config, MAINTENANCE) as cursor:
            _end_connections(cursor, self._config.name)
            self._create(cursor, CLEAN, self._config.name)

    def _names(self, cursor: psycopg2.extensions.cursor) -> set[str]:
        cursor.execute("SELECT datname FROM pg_database")
        return {name for (name,) in cursor.fetchall()}

    def _create(self, cursor: psycopg2.extensions.cursor, name: str, template: str) -> None:
        statement = "CREATE DATABASE {} OWNER {} TEMPLATE {}"
        if template == "template0":
            # The same as in programs/postgres/cluster.py.
            statement += " ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        self._run(cursor, statement, name, self._config.user, template)

    @staticmethod
    def _run(cursor: psycopg2.extensions.cursor, statement: str, *names: str) -> None:
        identifiers: Any = map(sql.Identifier, names)
        cursor.execute(sql.SQL(statement).format(*identifiers))


# Drops everything in Synapse's schema that Synapse's role owns, except parts of extensions and of
# columns, and the mark of test mode. Dropping a table also drops its indexes, triggers, rules and
# own sequences. The list is made first, so an item may be gone when its turn comes.
DROP_EVERYTHING = f"""
DO $$
DECLARE
    thing text;
BEGIN
    FOREACH thing IN ARRAY (
        SELECT coalesce(array_agg(format('%s IF EXISTS public.%I CASCADE',
            CASE c.relkind
                WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
                WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE'
            END, c.relname)), '{{}}')
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
          AND c.relname <> '{TABLE}'
          AND pg_has_role(c.relowner, 'USAGE')
          AND NOT EXISTS (
              SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'i', 'a')
          )
    ) || (
        SELECT coalesce(array_agg(format('ROUTINE IF EXISTS %s CASCADE',
            p.oid::regprocedure)), '{{}}')
        FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND pg_has_role(p.proowner, 'USAGE')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    )
    LOOP
        EXECUTE 'DROP ' || thing;
    END LOOP;
END $$
"""  # noqa: S608 - the names are ours


class External:
    """A server that other people administer. The application may use one database of it."""

    def __init__(self, config: DatabaseConfig) -> None:
        self._config = config

    def prepare(self) -> None:
        """Do nothing: the work must wait until Synapse has ended."""

    def exchange(self) -> bool:
        """Drop all tables in one statement, all or none. Main creates them when it starts.

        Raises Refusal with the reason if they cannot be dropped.
        """
        with _connected(self._config, self._config.name) as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                " current_database() AND usename = current_user AND pid <> pg_backend_pid()"
            )
            # Wait for clients of other roles that read a table, but not for ever.
            cursor.execute("SET lock_timeout = '10s'")
            try:
                cursor.execute(DROP_EVERYTHING)
            except psycopg2.Error as error:
                reason = str(error).strip().splitlines()[0]
                raise Refusal(
                    409, f"the tables of {self._config.name} cannot be dropped: {reason}"
                ) from error
        return False

    def keep(self) -> None:
        """Do nothing: there is no place for a copy."""
