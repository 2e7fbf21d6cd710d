"""A move from SQLite into the database of a data directory: embedded, or external and empty."""

import contextlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ganglion.data.lock import locked
from ganglion.errors import ConfigError, Problem
from ganglion.files.disk import flush_entry
from ganglion.files.write import make_directory
from ganglion.importing.sqlite import Port, check, port
from ganglion.machine import children
from ganglion.machine.installed import Machine
from ganglion.programs.postgres.client import Client, newest_programs, of_server
from ganglion.programs.postgres.scratch import new_cluster
from ganglion.settings.variables import Settings

# The entries of a data directory that a move makes, besides the lock.
ENTRIES = ("postgres", "secrets")
LOCK = ".lock"
# How many times the size of the file is needed: a copy, and the database with its indexes.
TIMES = 4

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """The file, the server's name, and the settings of the server that goes on with the data."""

    file: Path
    server_name: str
    settings: Settings
    machine: Machine
    say: Say


def ready(move: Move) -> None:
    """Raise ConfigError if the move cannot begin. Changes nothing."""
    check(move.file)
    settings = move.settings
    if settings.embedded_postgres and Path(settings.paths.postgres).exists():
        hint = "name another data directory, or remove the database if it is not needed"
        raise ConfigError(
            [
                Problem(
                    variable="GANGLION_DATA",
                    value=settings.data,
                    message="already has a PostgreSQL database",
                    hint=hint,
                )
            ]
        )
    place = Path(settings.data)
    while not place.exists():
        place = place.parent
    free, needed = shutil.disk_usage(place).free, TIMES * move.file.stat().st_size
    if free < needed:
        message = f"has {free // 1024**2} MB free, and {needed // 1024**2} MB are needed"
        raise ConfigError(
            [
                Problem(
                    variable="GANGLION_DATA",
                    value=settings.data,
                    message=message,
                    hint="make room on its disk",
                )
            ]
        )


def move(job: Move) -> None:
    """Move the data. Raises ConfigError, sqlite.Failed, client.Failed or OSError.

    The data directory is as before after an error, with an embedded database. Of an external one,
    a new and empty database has to be made.
    """
    ready(job)
    data = Path(job.settings.data)
    before = set(data.iterdir()) if data.exists() else None
    try:
        _move(job)
    except BaseException:
        if before is None:
            shutil.rmtree(data, ignore_errors=True)
        else:
            _remove({data / name for name in (*ENTRIES, LOCK)} - before)
        raise


def _remove(paths: set[Path]) -> None:
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _move(job: Move) -> None:
    settings, machine = job.settings, job.machine
    with locked(settings.paths, machine), contextlib.ExitStack() as closing:
        stage = Path(settings.paths.porting)
        shutil.rmtree(stage, ignore_errors=True)
        closing.callback(shutil.rmtree, stage, ignore_errors=True)
        make_directory(stage, 0o711, None)
        if settings.embedded_postgres:
            cluster = stage / "postgres"
            server = new_cluster(
                cluster,
                settings,
                machine,
                name=settings.postgres_db,
                role=settings.postgres_user,
            )
            with server as client:
                _port(job, client, _parsed(client.dsn), stage, machine.account("postgres"))
            _flush(cluster)
            cluster.rename(settings.paths.postgres)
            flush_entry(Path(settings.paths.postgres))
            # Of the role's password, which the first start sets.
            Path(settings.paths.password_in_force).unlink(missing_ok=True)
        else:
            account = machine.account("synapse")
            with _external(settings, account) as (client, arguments):
                _port(job, client, arguments, stage, account)


def _port(
    job: Move, client: Client, arguments: dict[str, Any], stage: Path, account: str | None
) -> None:
    port(
        Port(
            file=job.file,
            server_name=job.server_name,
            client=client,
            arguments=arguments,
            work=stage,
            account=account,
            say=job.say,
        )
    )


def _parsed(dsn: str) -> dict[str, Any]:
    from psycopg2.extensions import parse_dsn  # noqa: PLC0415 - only here

    return dict(parse_dsn(dsn))


@contextlib.contextmanager
def _external(settings: Settings, account: str | None) -> Iterator[tuple[Client, dict[str, Any]]]:
    """Reach the server that the settings name. Raises ConfigError unless the database is empty."""
    from ganglion.programs.postgres import external  # noqa: PLC0415 - psycopg2

    client = of_server(settings, newest_programs() or "", account)
    rows = client.query(
        "SELECT relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
        " WHERE relkind = 'r' AND nspname = current_schema() ORDER BY relname LIMIT 1"
    )
    if rows:
        raise ConfigError(
            [
                Problem(
                    variable="POSTGRES_DB",
                    value=settings.postgres_db,
                    message=f"is not empty: it has the table {rows[0][0]}",
                    hint="make a new database, with encoding UTF8 and locale C",
                )
            ]
        )
    yield client, external.arguments(settings)


def _flush(cluster: Path) -> None:
    """Write the cluster to the disk. The temporary server did not wait for that."""
    children.run(
        ["sync", "-f", str(cluster)], locks=False, stdin=subprocess.DEVNULL
    ).check_returncode()
