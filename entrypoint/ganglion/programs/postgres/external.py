"""An external PostgreSQL server: waited for and checked before anything starts."""

from collections.abc import Iterator
from typing import Any

import psycopg2
import psycopg2.extensions

from ganglion.budget.connections import ServerConnections
from ganglion.errors import ConfigError, Problem
from ganglion.programs.postgres import test_mark
from ganglion.programs.postgres.cluster import create_database, name
from ganglion.programs.synapse import schema
from ganglion.programs.waiting import CONNECT_TIMEOUT, Say, wait_for
from ganglion.settings.variables import Settings


def await_postgres(
    settings: Settings,
    say: Say,
    *,
    any_locale: bool,
    mode: test_mark.Mode,
    instead_of: str | None = None,
    synapse: str | None = None,
) -> ServerConnections:
    """Wait until the PostgreSQL server answers, and check that its database is fit for Synapse.

    `instead_of` describes the database that this server had before, if it was another one; an
    empty database is not accepted then. `any_locale` is Synapse's own allow_unsafe_locale. `mode`
    says whether the database has to be a test server's. `synapse` is the version that used it last,
    if that is known. Returns the server's connections.

    Raises ConfigError when it does not answer in GANGLION_WAIT seconds, or the database is not fit.
    """

    def attempt() -> psycopg2.extensions.connection:
        connection: psycopg2.extensions.connection = psycopg2.connect(**arguments(settings))
        return connection

    def problem(error: Exception) -> Problem:
        return _unreachable(settings, str(error).strip().splitlines()[-1])

    def final(error: Exception) -> bool:
        # Waiting cannot help: the server has answered, with a refusal.
        refusals = ("authentication failed", "does not exist", "no pg_hba.conf entry")
        return any(phrase in str(error) for phrase in refusals)

    connection = wait_for(
        attempt,
        f"PostgreSQL at {settings.postgres_host}:{settings.postgres_port}",
        limit=settings.external_wait,
        say=say,
        retried=(psycopg2.OperationalError,),
        final=final,
        problem=problem,
    )
    try:
        problems = list(_unfit(settings, connection, any_locale=any_locale))
        if instead_of is not None:
            problems.extend(_empty(settings, connection, instead_of))
        problems.extend(test_mark.problems(connection, mode))
        problems.extend(_too_new(settings, connection, synapse))
        found = _connections(connection, locked=settings.database_lock)
        if not problems:
            test_mark.write(connection, mode)
    except psycopg2.Error as error:
        raise ConfigError([_unreachable(settings, str(error).strip().splitlines()[0])]) from error
    finally:
        connection.close()
    if problems:
        raise ConfigError(problems)
    return found


def await_schema(settings: Settings, say: Say, *, by: str = "main") -> None:
    """Wait until main, or the Job of the migration, has made or upgraded Synapse's tables.

    Synapse's workers refuse a database without them. Raises ConfigError after GANGLION_WAIT.
    """

    def attempt() -> None:
        left = lacking(settings)
        if left:
            raise psycopg2.OperationalError(left)

    def problem(error: Exception) -> Problem:
        reason = str(error).strip().splitlines()[-1]
        start = "start the container with main" if by == "main" else f"run {by}"
        return Problem(
            variable="POSTGRES_DB",
            value=settings.postgres_db,
            message=f"{by} has not made Synapse's tables of version {schema.installed()} in time:"
            f" {reason}",
            hint=f"{start}, and see its log; or raise GANGLION_WAIT",
        )

    wait_for(
        attempt,
        f"{by}, which makes or upgrades the tables",
        limit=settings.external_wait,
        say=say,
        retried=(psycopg2.OperationalError,),
        final=lambda _: False,
        problem=problem,
    )


def lacking(settings: Settings) -> str:
    """Return what the database lacks for this Synapse. Raises psycopg2.OperationalError."""
    connection = psycopg2.connect(**arguments(settings))
    try:
        return schema.lacking(connection)
    finally:
        connection.close()


def arguments(settings: Settings) -> dict[str, Any]:
    """The arguments of libpq for an external server, with those of the operator's files."""
    own: dict[str, Any] = {
        "host": settings.postgres_host,
        "port": settings.postgres_port,
        "dbname": settings.postgres_db,
        "user": settings.postgres_user,
        "sslmode": settings.postgres_sslmode or "prefer",
    }
    if settings.postgres_password is not None:
        own["password"] = settings.postgres_password
    given = {name: value for name, value in settings.postgres_args if not name.startswith("cp_")}
    # Several hosts are tried one after the other, each as long.
    return {"connect_timeout": CONNECT_TIMEOUT, **given, **own}


def _connections(connection: psycopg2.extensions.connection, *, locked: bool) -> ServerConnections:
    """How many connections the server takes, and how many are taken.

    A role and a database can have limits of their own, and superusers a reserve. Anybody may count
    the connections in pg_stat_database, where ours is one. That of the lock takes its place.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('max_connections')::int,"
            " current_setting('superuser_reserved_connections')::int"
            # Since PostgreSQL 16.
            " + coalesce(current_setting('reserved_connections', true), '0')::int,"
            " (SELECT sum(numbackends) FROM pg_stat_database WHERE datid <> 0)::int - %s,"
            " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
            " (SELECT datconnlimit FROM pg_database WHERE datname = current_database())",
            (0 if locked else 1,),
        )
        most, reserved, used, *own = cursor.fetchone() or (0, 0, 0)
    # -1 is no limit.
    tighter = min((limit for limit in own if limit >= 0), default=most)
    if tighter < most - reserved - max(0, used):
        return ServerConnections(most=tighter, reserved=0, used=int(locked))
    return ServerConnections(most=most, reserved=reserved, used=max(0, used))


def _unreachable(settings: Settings, reason: str) -> Problem:
    role, database = settings.postgres_user, settings.postgres_db
    hint = "see that the server runs and can be reached from here, or raise GANGLION_WAIT"
    if f'database "{database}" does not exist' in reason:
        hint = f"as the server's administrator: {create_database(settings)};"
    elif f'role "{role}" does not exist' in reason:
        hint = f"as the server's administrator: CREATE ROLE {name(role)} LOGIN PASSWORD '…'"
    elif "authentication failed" in reason:
        hint = "correct POSTGRES_USER or POSTGRES_PASSWORD"
    elif "pg_hba.conf" in reason:
        hint = "let this host in by a line in the server's pg_hba.conf"
    return Problem(
        variable="POSTGRES_HOST",
        value=f"{settings.postgres_host}",
        message=f"PostgreSQL cannot be used: {reason}",
        hint=hint,
    )


def _empty(
    settings: Settings, connection: psycopg2.extensions.connection, instead_of: str
) -> Iterator[Problem]:
    """A database without Synapse's tables, of a server that had another database.

    Synapse would begin anew in it, with nobody's account.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('schema_version') IS NOT NULL")
        (is_filled,) = cursor.fetchone() or (False,)
    if not is_filled:
        file = settings.paths.server_json
        yield Problem(
            variable="POSTGRES_HOST",
            value=settings.postgres_host,
            message=f"its database {settings.postgres_db} is empty, and this server's is"
            f" {instead_of} ({file})",
            hint="move that one there with pg_dump and pg_restore; or, to begin with an empty"
            f' database, remove "database" from {file}',
        )


def _too_new(
    settings: Settings, connection: psycopg2.extensions.connection, made_by: str | None
) -> Iterator[Problem]:
    """A database that needs a newer Synapse."""
    with connection.cursor() as cursor:
        cursor.execute(schema.TABLE)
        if cursor.fetchone() in (None, (None,)):
            return
        cursor.execute(schema.NEEDED)
        (needed,) = cursor.fetchone() or (None,)
    if needed is not None:
        where = f"the database {settings.postgres_db} at {settings.postgres_host}"
        yield from schema.refused(int(needed), where, made_by)


def _unfit(
    settings: Settings, connection: psycopg2.extensions.connection, *, any_locale: bool
) -> Iterator[Problem]:
    """The reasons why Synapse could not use the database.

    Synapse makes the first two checks too, after its start:
    synapse/storage/engines/postgres.py, check_database.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_encoding_to_char(encoding), datcollate, datctype,"
            " has_schema_privilege(current_user, 'public', 'CREATE')"
            " FROM pg_database WHERE datname = current_database()"
        )
        encoding, collate, ctype, may_create = cursor.fetchone() or (None,) * 4
    wrong = [f"encoding {encoding}"] if encoding != "UTF8" else []
    if not any_locale:
        locales = (("LC_COLLATE", collate), ("LC_CTYPE", ctype))
        wrong += [f"{name} {value}" for name, value in locales if value != "C"]
    if wrong:
        yield Problem(
            variable="POSTGRES_DB",
            value=settings.postgres_db,
            message=f"the database has {', '.join(wrong)}; Synapse needs encoding UTF8 and locale"
            " C, or its indexes break when the operating system is upgraded",
            hint="make another, as the server's administrator, and move the data with"
            f" pg_dump and pg_restore: {create_database(settings)};",
        )
    if not may_create:
        yield Problem(
            variable="POSTGRES_USER",
            value=settings.postgres_user,
            message=f"may not create tables in the database {settings.postgres_db}",
            hint="as the server's administrator, in that database: "
            f'GRANT CREATE ON SCHEMA public TO "{settings.postgres_user}";',
        )
