"""Checks of the database's server: reachable, locale, collation, connections, indexes, bloat."""

from collections.abc import Iterator
from dataclasses import dataclass

from ganglion.doctor.database import Unreachable
from ganglion.doctor.finding import Check, Finding, bad, good, notice
from ganglion.doctor.place import RESTART, Place
from ganglion.doctor.unavailable import Unavailable
from ganglion.programs.postgres.cluster import create_database, literal, name

# Parts of the connections in use from which the doctor warns.
MANY_CONNECTIONS = 0.9
# A session that has idled in a transaction for so many seconds keeps VACUUM from its work.
LONG_TRANSACTION = 300
# Dead rows from which a table is called bloated, and their part of all rows.
DEAD_ROWS = 50_000
DEAD_PART = 0.3
# Of the 2 billion transactions after which PostgreSQL stops; autovacuum freezes at 200 million.
OLD_TRANSACTIONS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server's response. `failure` is libpq's reason, and the rest is unknown then."""

    where: str
    failure: str | None = None
    version: str = ""
    encoding: str = ""
    collate: str = ""
    ctype: str = ""
    any_locale: bool = False
    embedded: bool = True
    data: str = ""
    remake: str = ""
    # A standby, which only follows another server.
    follows: bool = False
    # Where `default_transaction_read_only` is set to on, in words of pg_settings; empty if it is
    # not. And the command that undoes it.
    read_only: str = ""
    writable: str = ""


def observe_server(place: Place) -> Server:
    """Connect, and read the database's encoding and locale."""
    settings = place.settings
    where = settings.postgres_host or "the embedded server"
    try:
        place.database.connection()
    except Unreachable as error:
        return Server(
            where=where,
            failure=str(error),
            embedded=settings.embedded_postgres,
            data=settings.paths.postgres,
        )
    ((version, encoding, collate, ctype, follows, read_only),) = place.database.rows(
        "SELECT current_setting('server_version'), pg_encoding_to_char(encoding), datcollate,"
        " datctype, pg_is_in_recovery(), (SELECT source FROM pg_settings"
        " WHERE name = 'default_transaction_read_only' AND setting = 'on')"
        " FROM pg_database WHERE datname = current_database()"
    )
    return Server(
        where=where,
        version=str(version).split(" ")[0],
        encoding=encoding,
        collate=collate,
        ctype=ctype,
        any_locale=place.operator.any_locale,
        remake=create_database(settings),
        follows=follows,
        read_only=read_only or "",
        writable=_writable(place, read_only or ""),
    )


def _writable(place: Place, source: str) -> str:
    """Return the command that lets the database take writes again."""
    settings = place.settings
    reset = "RESET default_transaction_read_only"
    writes = "SET default_transaction_read_only = off"
    role, database = name(settings.postgres_user), name(settings.postgres_db)
    if source == "database":
        return place.psql(writes, f"ALTER DATABASE {database} {reset}")
    if source == "user":
        return place.psql(writes, f"ALTER ROLE {role} {reset}")
    if source == "database user":
        return place.psql(writes, f"ALTER ROLE {role} IN DATABASE {database} {reset}")
    system = ("-c", f"ALTER SYSTEM {reset}", "-c", "SELECT pg_reload_conf()")
    return place.administrator("psql", "-d", "postgres", *system)


def judge_server(found: Server) -> Iterator[Finding]:
    """Judge the encoding and locale, which Synapse requires to be UTF8 and C."""
    if found.failure is not None:
        yield bad(
            f"PostgreSQL does not answer ({found.where}): {found.failure}",
            "every request fails, and the checks of the database are not made",
            f"{RESTART}; then see the lines of `postgres` in the log"
            if found.embedded
            else "correct POSTGRES_HOST and the rest of POSTGRES_, or start that server",
        )
        return
    if found.follows:
        yield bad(
            f"the database is a standby, which takes no writes ({found.where})",
            "every request that writes fails, and main cannot start",
            "set POSTGRES_HOST to the primary server; or, if that is gone, make this one primary:",
            "SELECT pg_promote()",
        )
    elif found.read_only:
        yield bad(
            "the database takes no writes: default_transaction_read_only is on"
            f" (set by: {found.read_only})",
            "every request that writes fails, and main cannot start",
            found.writable,
        )
    wrong = [f"encoding {found.encoding}"] if found.encoding != "UTF8" else []
    if not found.any_locale:
        locales = (("LC_COLLATE", found.collate), ("LC_CTYPE", found.ctype))
        wrong += [f"{name} {value}" for name, value in locales if value != "C"]
    if wrong:
        yield bad(
            f"the database has {', '.join(wrong)}; Synapse needs encoding UTF8 and locale C",
            "indexes on text break when the operating system is upgraded, and Synapse refuses it",
            "make another database, and move the data there with pg_dump and pg_restore:",
            f"{found.remake};",
        )
    elif not found.follows and not found.read_only:
        yield good(f"PostgreSQL {found.version} answers, UTF8, locale {found.collate}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collation:
    """A database or collation with another version than the system's, and how to repair it."""

    kind: str
    name: str
    recorded: str
    actual: str | None
    repair: tuple[str, ...]


def observe_collation(place: Place) -> tuple[Collation, ...]:
    """List databases and collations that were made with another version than the system's."""
    ((version,),) = place.database.rows("SELECT current_setting('server_version_num')::int")
    if version < 150000:
        raise Unavailable("PostgreSQL keeps no versions of a database's collation before 15")
    rows = place.database.rows(
        "SELECT 'DATABASE', quote_ident(datname), datcollversion,"
        " pg_database_collation_actual_version(oid) FROM pg_database"
        " WHERE datname = current_database() AND datcollversion IS NOT NULL"
        " AND datcollversion IS DISTINCT FROM pg_database_collation_actual_version(oid)"
        " UNION ALL SELECT DISTINCT 'COLLATION', c.oid::regcollation::text, collversion,"
        " pg_collation_actual_version(c.oid) FROM pg_collation c"
        " JOIN pg_attribute ON attcollation = c.oid JOIN pg_class t ON t.oid = attrelid"
        " WHERE collversion <> pg_collation_actual_version(c.oid)"
        " AND relkind IN ('r', 'i') AND t.oid >= 16384"
    )
    database = name(place.settings.postgres_db)
    found = []
    for kind, which, recorded, actual in rows:
        refresh = f"ALTER {kind} {which} REFRESH COLLATION VERSION"
        repair = (place.psql(f"REINDEX DATABASE {database}", refresh),)
        if actual is None:
            where = literal(place.settings.postgres_db)
            clear = f"UPDATE pg_database SET datcollversion = NULL WHERE datname = {where}"  # noqa: S608
            repair = (place.administrator("psql", "-d", "postgres", "-c", clear),)
        found.append(
            Collation(kind=kind, name=which, recorded=recorded, actual=actual, repair=repair)
        )
    return tuple(found)


def judge_collation(found: tuple[Collation, ...]) -> Iterator[Finding]:
    """Judge collations whose rules may have changed under the indexes."""
    for item in found:
        actual = f"is {item.actual} now" if item.actual else "has none now"
        yield notice(
            f"the {item.kind.lower()} {item.name} was made with collation version"
            f" {item.recorded}, and the system's {actual}",
            "its indexes on text may be in another order than the system's, and lose rows",
            *item.repair,
        )
    if not found:
        yield good("no collation has changed since the database was made")


@dataclass(frozen=True, slots=True, kw_only=True)
class Connections:
    """Connections in use and usable, those that the pools may open, and old transactions.

    `waiting` are sessions that idle in a transaction: PID, seconds, application.
    """

    used: int
    usable: int
    own: int
    pools: int | None
    waiting: tuple[tuple[int, int, str], ...]
    terminate: str
    embedded: bool


def observe_connections(place: Place) -> Connections:
    """Count connections. Anybody may count those of all databases."""
    ((usable, used, own),) = place.database.rows(
        "SELECT current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
        " - coalesce(current_setting('reserved_connections', true), '0')::int,"
        " (SELECT sum(numbackends) FROM pg_stat_database WHERE datid <> 0)::int,"
        " (SELECT count(*) FROM pg_stat_activity WHERE usename = current_user)::int"
    )
    waiting = place.database.rows(
        "SELECT pid, extract(epoch FROM now() - state_change)::int, application_name"
        " FROM pg_stat_activity WHERE state LIKE 'idle in transaction%%'"
        " AND state_change < now() - %s * interval '1 second'"
        " ORDER BY state_change LIMIT 5",
        (LONG_TRANSACTION,),
    )
    return Connections(
        used=used,
        usable=usable,
        own=own,
        pools=place.plan.budget.connections if place.plan and place.running else None,
        waiting=tuple((pid, age, str(name)) for pid, age, name in waiting),
        terminate=place.psql(f"SELECT pg_terminate_backend({waiting[0][0]})") if waiting else "",
        embedded=place.settings.embedded_postgres,
    )


def judge_connections(found: Connections) -> Iterator[Finding]:
    """Judge the room for more connections."""
    good_so_far = True
    raise_limit = (
        "GANGLION_MEMORY=…    # more memory gives more connections, or close other clients"
        if found.embedded
        else "ALTER SYSTEM SET max_connections = 300;    # as its administrator; then restart it"
    )
    if found.used >= found.usable * MANY_CONNECTIONS:
        good_so_far = False
        yield notice(
            f"{found.used} of {found.usable} connections are in use",
            "PostgreSQL rejects the next ones, and requests fail",
            raise_limit,
        )
    others = found.used - found.own
    if found.pools is not None and found.pools + others > found.usable:
        good_so_far = False
        yield notice(
            f"the pools may open {found.pools} connections, and others hold {others} of the"
            f" {found.usable}",
            "under load, PostgreSQL rejects connections of Synapse",
            raise_limit,
            "POSTGRES_CP_MAX=5    # or give each process fewer",
        )
    for pid, age, application in found.waiting:
        good_so_far = False
        yield notice(
            f"the session {pid} of {application or 'an unnamed program'} has idled in a transaction"
            f" for {age} s",
            "VACUUM cannot remove rows that it may still see, and it may hold locks",
            found.terminate,
        )
    if good_so_far:
        yield good(f"{found.used} of {found.usable} connections are in use")


CHECKS = (
    Check(
        name="database",
        about="PostgreSQL: it answers, and the database has encoding UTF8 and locale C",
        observe=observe_server,
        judge=judge_server,
    ),
    Check(
        name="collation",
        about="collations whose version has changed since the database was made",
        observe=observe_collation,
        judge=judge_collation,
    ),
    Check(
        name="connections",
        about="head-room of PostgreSQL's connections, for the pools when they are full, and"
        " sessions that idle in a transaction",
        observe=observe_connections,
        judge=judge_connections,
    ),
)
