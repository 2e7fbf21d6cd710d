"""The database: how a clean one takes the place of the one that is in use.

An embedded server has a clean copy ready, which is renamed into place. SQLite's file is removed. An
external server may be
somebody else's: databases are neither made nor renamed there, as settings, grants and poolers know
them by their name; its tables are dropped, and main makes them anew, which takes seconds longer.
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

from ganglion.control.refusal import Refusal
from ganglion.control.test.place import DatabasePlace
from ganglion.programs.postgres.cluster import CLEAN

# Beside the clean database: the copy of it that the next reset takes, and the one that the last
# reset replaced.
NEXT, OLD = "ganglion_next", "ganglion_old"
# Where a connection is made to say something of other databases.
MAINTENANCE = "postgres"
# libpq's own limit for one attempt, seconds.
CONNECT_TIMEOUT = 5
# How long a connection whose client is dead may take to notice, in seconds.
ENDED_WITHIN = 10.0


class Database(Protocol):
    """What a reset asks of the database. Another kind is another class, and a row of database_at.

    Nobody has it open while it is exchanged or kept.
    """

    def prepare(self) -> None:
        """Do ahead what can be done before Synapse is ended. Called from several threads."""

    def exchange(self) -> bool:
        """Have an empty or a clean database in place. Returns whether Synapse is yet to make its
        tables in it and, once it has, `keep` is to be called.
        """

    def keep(self) -> None:
        """Take what is in place for clean from now on."""


def database_at(place: DatabasePlace) -> Database:
    """The database of a server, as it is to be treated."""
    if place.sqlite is not None:
        return Sqlite(Path(place.sqlite))
    return Embedded(place) if place.embedded else External(place)


@contextlib.contextmanager
def _connected(place: DatabasePlace, database: str) -> Iterator[psycopg2.extensions.cursor]:
    """A cursor that commits each statement by itself."""
    passfile: dict[str, Any] = {} if place.passfile is None else {"passfile": place.passfile}
    connection = psycopg2.connect(
        host=place.host,
        port=place.port,
        user=place.administrator or place.user,
        dbname=database,
        sslmode=place.sslmode,
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
    """End every other connection to a database, and wait until they have."""
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
            raise Refusal(409, f"somebody keeps connections to the database {database} open")
        time.sleep(0.002)


class Sqlite:
    """A file, which main makes anew where it finds none."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def prepare(self) -> None:
        """Nothing can be done ahead."""

    def exchange(self) -> bool:
        """Remove the file with what SQLite keeps beside it, which without it means nothing."""
        for ending in ("", "-journal", "-wal", "-shm"):
            self._path.with_name(f"{self._path.name}{ending}").unlink(missing_ok=True)
        return False

    def keep(self) -> None:
        """There is no place to keep another."""


class Embedded:
    """The server of ours, where we administer every database."""

    def __init__(self, place: DatabasePlace) -> None:
        self._place = place
        self._lock = threading.Lock()

    def prepare(self) -> None:
        """Have a copy of the clean database ready, and be rid of the one before."""
        with self._lock, _connected(self._place, MAINTENANCE) as cursor:
            found = self._names(cursor)
            if CLEAN in found and NEXT not in found:
                self._create(cursor, NEXT, CLEAN)
            if OLD in found:
                self._run(cursor, "DROP DATABASE {} WITH (FORCE)", OLD)

    def exchange(self) -> bool:
        """Rename the copy into place, both names in one transaction: a server that is stopped in
        the middle has one database or the other.
        """
        live = self._place.name
        with self._lock, _connected(self._place, MAINTENANCE) as cursor:
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
        """Copy what is in place, which is clean, into the database that copies are made of."""
        with self._lock, _connected(self._place, MAINTENANCE) as cursor:
            _end_connections(cursor, self._place.name)
            self._create(cursor, CLEAN, self._place.name)

    def _names(self, cursor: psycopg2.extensions.cursor) -> set[str]:
        cursor.execute("SELECT datname FROM pg_database")
        return {name for (name,) in cursor.fetchall()}

    def _create(self, cursor: psycopg2.extensions.cursor, name: str, template: str) -> None:
        statement = "CREATE DATABASE {} OWNER {} TEMPLATE {}"
        if template == "template0":
            # As postgres.py makes the first one.
            statement += " ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
        self._run(cursor, statement, name, self._place.user, template)

    @staticmethod
    def _run(cursor: psycopg2.extensions.cursor, statement: str, *names: str) -> None:
        identifiers: Any = map(sql.Identifier, names)
        cursor.execute(sql.SQL(statement).format(*identifiers))


# Everything of ours in the schema that Synapse uses, but what belongs to an extension, or to a
# column: tables take their indexes, triggers, rules and own sequences with them. What is listed may
# so be gone when its turn comes; the list is made first.
DROP_EVERYTHING = """
DO $$
DECLARE
    thing text;
BEGIN
    FOREACH thing IN ARRAY (
        SELECT coalesce(array_agg(format('%s IF EXISTS public.%I CASCADE',
            CASE c.relkind
                WHEN 'S' THEN 'SEQUENCE' WHEN 'v' THEN 'VIEW'
                WHEN 'm' THEN 'MATERIALIZED VIEW' ELSE 'TABLE'
            END, c.relname)), '{}')
        FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
          AND pg_has_role(c.relowner, 'USAGE')
          AND NOT EXISTS (
              SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'i', 'a')
          )
    ) || (
        SELECT coalesce(array_agg(format('ROUTINE IF EXISTS %s CASCADE',
            p.oid::regprocedure)), '{}')
        FROM pg_proc p
        WHERE p.pronamespace = 'public'::regnamespace AND pg_has_role(p.proowner, 'USAGE')
          AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
    )
    LOOP
        EXECUTE 'DROP ' || thing;
    END LOOP;
END $$
"""


class External:
    """A server that others administer, and of which we have one database and no other rights."""

    def __init__(self, place: DatabasePlace) -> None:
        self._place = place

    def prepare(self) -> None:
        """Nothing can be done ahead."""

    def exchange(self) -> bool:
        """Drop all tables in one statement, which is done as a whole or not at all; main makes them
        when it starts.
        """
        with _connected(self._place, self._place.name) as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ="
                " current_database() AND usename = current_user AND pid <> pg_backend_pid()"
            )
            # Somebody who looks at a table is waited for, but not for ever.
            cursor.execute("SET lock_timeout = '10s'")
            try:
                cursor.execute(DROP_EVERYTHING)
            except psycopg2.Error as error:
                reason = str(error).strip().splitlines()[0]
                raise Refusal(
                    409, f"the tables of {self._place.name} cannot be dropped: {reason}"
                ) from error
        return False

    def keep(self) -> None:
        """There is no place to keep another."""
