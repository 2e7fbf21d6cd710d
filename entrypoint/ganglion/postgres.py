"""The PostgreSQL server: the embedded cluster's first making, or an external server's checks."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import psycopg2.extensions

from ganglion.errors import ConfigError, Problem
from ganglion.files import make_directory
from ganglion.machine import Machine
from ganglion.pools import Room
from ganglion.settings import Settings

# libpq's own limit for one attempt, seconds.
CONNECT_TIMEOUT = 5


def make_cluster(
    cluster: Path,
    settings: Settings,
    machine: Machine,
    password: str,
    meanwhile: Callable[[], None],
) -> None:
    """Make the embedded server's cluster with Synapse's role and database, if there is none.

    It is made beside its place and renamed when whole, so a start that was cut off leaves nothing.
    An image brings one that is prepared, with Synapse's tables: it is copied, while `meanwhile`
    does something else.
    """
    if (cluster / "PG_VERSION").exists():
        return
    account = machine.account("postgres")
    staged = cluster.with_name(".postgres.new")
    shutil.rmtree(staged, ignore_errors=True)
    make_directory(staged, 0o700, account)
    # The names are plain, the password printable ASCII: settings.py.
    role, database = settings.postgres_user, settings.postgres_db
    quoted = password.replace("'", "''")
    administrator = account or machine.ourselves
    if machine.prepared is not None and role != administrator:
        with subprocess.Popen(["cp", "-a", f"{machine.prepared}/.", str(staged)]) as copying:
            meanwhile()
        if copying.returncode:
            raise ConfigError([_no_room(cluster)])
        renames = (("ROLE", role), ("DATABASE", database))
        statements = [
            *(
                f'ALTER {kind} "synapse" RENAME TO "{name}"'
                for kind, name in renames
                if name != "synapse"
            ),
            f"ALTER ROLE \"{role}\" PASSWORD '{quoted}'",
        ]
    else:
        _initialise(staged, machine)
        # initdb made a role for the account that it ran as, whose name may be the one we want.
        verb = "ALTER" if role == administrator else "CREATE"
        statements = [
            f"{verb} ROLE \"{role}\" LOGIN PASSWORD '{quoted}'",
            (
                f'CREATE DATABASE "{database}" OWNER "{role}"'
                " TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'"
            ),
        ]
    _single_user(machine, staged, *statements)
    staged.rename(cluster)
    # Onto the disk while everything else starts; PostgreSQL sees to what it writes itself.
    os.posix_spawnp("sync", ["sync", "-f", str(cluster)], {})


def _no_room(cluster: Path) -> Problem:
    return Problem(
        variable="GANGLION_DATA",
        value=str(cluster.parent),
        message="cannot take the prepared database; the line above says why",
        hint="see that the disk has room",
    )


def _initialise(cluster: Path, machine: Machine) -> None:
    """Run initdb. Locale C and UTF-8 are what Synapse requires:
    https://element-hq.github.io/synapse/latest/postgres.html#set-up-database
    """
    _postgres_program(
        machine,
        (
            "initdb",
            "--locale=C",
            "--encoding=UTF8",
            "--auth=peer",
            "--no-instructions",
            "--no-sync",
        ),
        cluster,
    )


def set_password(cluster: Path, settings: Settings, machine: Machine, password: str) -> None:
    """Give the role of a stopped embedded server another password."""
    quoted = password.replace("'", "''")
    _single_user(machine, cluster, f"ALTER ROLE \"{settings.postgres_user}\" PASSWORD '{quoted}'")


def _single_user(machine: Machine, cluster: Path, *statements: str) -> None:
    """Run SQL in a stopped cluster. Single-user mode takes one statement a line."""
    _postgres_program(
        machine,
        (
            *("postgres", "--single", "-F", "-j", "-c", "log_checkpoints=off"),
            # What fails is not to be shown: it may have a password in it.
            *("-c", "log_min_error_statement=panic", "template1"),
        ),
        cluster,
        stdin="".join(f"{statement};\n\n" for statement in statements),
    )


def _postgres_program(
    machine: Machine, command: tuple[str, ...], cluster: Path, stdin: str = ""
) -> None:
    program, *arguments = command
    result = subprocess.run(
        [f"{machine.postgres_bin}/{program}", *arguments[:1], "-D", str(cluster), *arguments[1:]],
        input=stdin,
        text=True,
        capture_output=True,
        user=machine.account("postgres"),
        group=machine.account("postgres"),
        extra_groups=[] if machine.account("postgres") else None,
        cwd="/",
        env={"LC_ALL": "C", "PATH": machine.postgres_bin},
        check=False,
    )
    # Single-user mode ends with 0 whatever its statements came to, and says ERROR of a failed one.
    if result.returncode or "ERROR:" in result.stderr:
        raise ConfigError(
            [
                Problem(
                    variable="GANGLION_DATA",
                    value=str(cluster.parent),
                    message=f"{program} failed:\n{result.stderr.strip()[-2000:]}",
                    hint="see that the disk has room and that the account of PostgreSQL may enter"
                    f" {cluster.parent}",
                )
            ]
        )


def await_external(settings: Settings, say: Callable[[str], None], *, any_locale: bool) -> Room:
    """Wait until the external server answers, and see that its database is fit for Synapse.

    `any_locale` is Synapse's own allow_unsafe_locale. Returns what the server says of its
    connections. Raises ConfigError when it does not answer in GANGLION_WAIT seconds, or the
    database is not fit.
    """
    started = time.monotonic()
    limit = settings.external_wait
    while True:
        try:
            connection = psycopg2.connect(
                host=settings.postgres_host,
                port=settings.postgres_port,
                dbname=settings.postgres_db,
                user=settings.postgres_user,
                password=settings.postgres_password,
                sslmode=settings.postgres_sslmode or "prefer",
                connect_timeout=CONNECT_TIMEOUT,
            )
            break
        except psycopg2.OperationalError as error:
            reason = str(error).strip().splitlines()[-1]
            waited = time.monotonic() - started
            if _final(str(error)) or waited > limit:
                raise ConfigError([_unreachable(settings, reason)]) from error
            say(
                f"waiting for PostgreSQL at {settings.postgres_host}:{settings.postgres_port}, "
                f"{waited:.0f} of {limit:.0f} s: {reason}"
            )
            time.sleep(1)
    try:
        problems = list(_unfit(settings, connection, any_locale=any_locale))
        room = _room(connection)
    finally:
        connection.close()
    if problems:
        raise ConfigError(problems)
    return room


def _room(connection: psycopg2.extensions.connection) -> Room:
    """How many connections the server takes, and how many are taken.

    A role and a database can have limits of their own, and superusers a reserve. Anybody may count
    the connections in pg_stat_database, where ours is one.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('max_connections')::int,"
            " current_setting('superuser_reserved_connections')::int"
            # Since PostgreSQL 16.
            " + coalesce(current_setting('reserved_connections', true), '0')::int,"
            " (SELECT sum(numbackends) FROM pg_stat_database WHERE datid <> 0)::int - 1,"
            " (SELECT rolconnlimit FROM pg_roles WHERE rolname = current_user),"
            " (SELECT datconnlimit FROM pg_database WHERE datname = current_database())"
        )
        most, reserved, used, *own = cursor.fetchone() or (0, 0, 0)
    # -1 is no limit.
    tighter = min((limit for limit in own if limit >= 0), default=most)
    if tighter < most - reserved - max(0, used):
        return Room(most=tighter, reserved=0, used=0)
    return Room(most=most, reserved=reserved, used=max(0, used))


def _final(error: str) -> bool:
    """Whether waiting cannot help: the server has answered, with a refusal."""
    return any(
        phrase in error
        for phrase in ("authentication failed", "does not exist", "no pg_hba.conf entry")
    )


def _unreachable(settings: Settings, reason: str) -> Problem:
    role, database = settings.postgres_user, settings.postgres_db
    hint = "see that the server runs and can be reached from here, or raise GANGLION_WAIT"
    if f'database "{database}" does not exist' in reason:
        hint = f"as the server's administrator: {_create_database(settings)}"
    elif f'role "{role}" does not exist' in reason:
        hint = f"as the server's administrator: CREATE ROLE \"{role}\" LOGIN PASSWORD '…'"
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


def _create_database(settings: Settings) -> str:
    return (
        f'CREATE DATABASE "{settings.postgres_db}" OWNER "{settings.postgres_user}"'
        " TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C';"
    )


def _unfit(
    settings: Settings, connection: psycopg2.extensions.connection, *, any_locale: bool
) -> Iterator[Problem]:
    """What keeps Synapse from using the database.

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
            hint="make another, as the server's administrator, and move what is in this one with"
            f" pg_dump and pg_restore: {_create_database(settings)}",
        )
    if not may_create:
        yield Problem(
            variable="POSTGRES_USER",
            value=settings.postgres_user,
            message=f"may not create tables in the database {settings.postgres_db}",
            hint="as the server's administrator, in that database: "
            f'GRANT CREATE ON SCHEMA public TO "{settings.postgres_user}";',
        )
