"""Move a database from SQLite to PostgreSQL with Synapse's own programs, on a copy of the file."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ganglion.errors import ConfigError, Problem, reason
from ganglion.files.write import make_directory, write_file
from ganglion.importing.counts import differences
from ganglion.importing.looking import exists, is_directory, is_file
from ganglion.machine import children
from ganglion.machine.unix_accounts import numbers
from ganglion.programs.postgres.client import Client
from ganglion.programs.postgres.cluster import literal

# In pages of the backup API, each 4 KB as a rule.
PAGES = 4096
HEADER = b"SQLite format 3\0"
# The files beside a file that a process has open, or that was not closed.
BESIDE = ("-wal", "-journal", "-shm")
# A line of progress of synapse_port_db: `events: 50% (500/1000)`.
PROGRESS = re.compile(r"^(?P<table>\w+): (?P<percent>\d+)% \((?P<done>-?\d+)/(?P<total>-?\d+)\)$")
STATE = re.compile(r"^[A-Z].*\.\.\.$")
LINES_SHOWN = 15
# As RegenerateDirectory in synapse/rest/admin/background_updates.py.
USER_DIRECTORY = (
    ("populate_user_directory_createtables", None),
    ("populate_user_directory_process_rooms", "populate_user_directory_createtables"),
    ("populate_user_directory_process_users", "populate_user_directory_process_rooms"),
    ("populate_user_directory_cleanup", "populate_user_directory_process_users"),
)

Say = Callable[[str], None]


class Failed(Exception):
    """A program of Synapse has failed. The text is the end of its output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A move: the file, the server's name, the database to fill, a directory to work in.

    `client` reaches the PostgreSQL database, which is empty; `arguments` are the same for libpq.
    The programs run as `account`, None for our own.
    """

    file: Path
    server_name: str
    client: Client
    arguments: Mapping[str, Any]
    work: Path
    account: str | None
    say: Say


def check(file: Path) -> None:
    """Raise ConfigError unless a file is an SQLite database of Synapse."""
    if exists(file) and not (is_file(file) or is_directory(file)):
        # Another one blocks, or never ends.
        raise _refused(file, "is not a regular file")
    try:
        with file.open("rb") as stream:
            header = stream.read(len(HEADER))
    except (OSError, ValueError) as error:
        raise _refused(file, f"cannot be read: {reason(error)}") from error
    if header != HEADER:
        raise _refused(file, "is not an SQLite database")


def port(job: Port) -> None:
    """Move the data. Raises ConfigError, Failed, client.Failed or OSError; the file never changes.

    The PostgreSQL database is useless after an error.
    """
    check(job.file)
    before = _state(job.file)
    directory = job.work / "sqlite"
    make_directory(directory, 0o700, job.account)
    copy = directory / "homeserver.db"
    _copy(job.file, copy, job.account, job.say)
    config = directory / "config.yaml"
    _finish_updates(job, copy, config)
    _write_config(job, config, {"name": "psycopg2", "args": dict(job.arguments)})
    job.say("copying into PostgreSQL")
    module = "synapse._scripts.synapse_port_db"
    _run(job, (module, "--sqlite-database", str(copy), "--postgres-config", str(config)))
    _check_counts(job, copy)
    values = ", ".join(
        f"({literal(name)}, '{{}}', {literal(after) if after else 'NULL'})"
        for name, after in USER_DIRECTORY
    )
    into = "INSERT INTO background_updates (update_name, progress_json, depends_on) VALUES"
    job.client.query(f"{into} {values} ON CONFLICT DO NOTHING")
    job.say("the user directory is made again after the first start")
    if _state(job.file) != before:
        raise _refused(job.file, "changed meanwhile: the old server runs", "stop the old server")
    shutil.rmtree(directory)


def _state(file: Path) -> tuple[int, ...]:
    found = file.stat()
    beside = (Path(f"{file}{suffix}").exists() for suffix in ("-wal", "-journal"))
    return (found.st_size, found.st_mtime_ns, found.st_ino, *map(int, beside))


def _copy(file: Path, copy: Path, account: str | None, say: Say) -> None:
    """Copy a database with SQLite's backup API. A log beside it is replayed in the copy."""
    source, mode = file, "ro"
    # SQLite would write beside the file to read these.
    if any(Path(f"{file}{suffix}").exists() for suffix in BESIDE) or _has_log(file):
        source, mode = copy.with_name("raw.db"), "rw"
        for suffix in ("", "-wal", "-journal"):
            if Path(f"{file}{suffix}").exists():
                shutil.copyfile(f"{file}{suffix}", f"{source}{suffix}")
    try:
        uri = f"file:{quote(str(source.absolute()))}?mode={mode}"
        verdict, tables = _back_up(uri, copy, _progress(file, say))
    except sqlite3.Error as error:
        raise _refused(file, f"cannot be read: {error}") from error
    if verdict != "ok":
        raise _refused(file, f"is damaged: {verdict}", "restore it from a backup")
    if not {"users", "events", "schema_version"} <= tables:
        raise _refused(file, "is not a database of Synapse")
    for path in copy.parent.glob("raw.db*"):
        path.unlink()
    copy.chmod(0o600)
    if account is not None:
        os.chown(copy, *numbers(account))


def _back_up(
    uri: str, copy: Path, progress: Callable[[int, int, int], None]
) -> tuple[str, set[str]]:
    """Copy, and return the verdict of a check of the copy and its tables. Raises sqlite3.Error."""
    with (
        contextlib.closing(sqlite3.connect(uri, uri=True)) as connection,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        connection.backup(target, pages=PAGES, progress=progress)
        (verdict,) = target.execute("PRAGMA quick_check(1)").fetchone()
        tables = target.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        return str(verdict), {name for (name,) in tables}


def _progress(file: Path, say: Say) -> Callable[[int, int, int], None]:
    shown = 0

    def progress(_status: int, remaining: int, total: int) -> None:
        nonlocal shown
        tenth = 10 * (total - remaining) // max(total, 1)
        if tenth > shown:
            shown = tenth
            say(f"copying {file.name}: {10 * tenth} %")

    return progress


def _has_log(file: Path) -> bool:
    """Whether the header names a write-ahead log: https://sqlite.org/fileformat.html"""
    with file.open("rb") as stream:
        return stream.read(20)[18:20] == b"\2\2"


def _finish_updates(job: Port, copy: Path, config: Path) -> None:
    """Update the copy's schema, and run all background updates that are pending."""
    _write_config(job, config, {"name": "sqlite3", "args": {"database": str(copy)}})
    job.say(f"background updates: {_pending(copy)} pending")
    module = "synapse._scripts.update_synapse_database"
    _run(job, (module, "--database-config", str(config), "--run-background-updates"))
    left = _pending(copy)
    if left:
        raise Failed(f"{left} background updates are still pending")
    job.say("background updates: done")


def _pending(copy: Path) -> int:
    with contextlib.closing(sqlite3.connect(copy)) as connection:
        (number,) = connection.execute("SELECT count(*) FROM background_updates").fetchone()
    return int(number)


def _write_config(job: Port, path: Path, database: Mapping[str, Any]) -> None:
    """Write the few options that Synapse's programs need. JSON is YAML."""
    options = {
        "server_name": job.server_name,
        "report_stats": False,
        "database": database,
        # A key of no server; the programs sign nothing.
        "signing_key": f"ed25519 a_port {'A' * 43}",
        "macaroon_secret_key": "unused",
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "media_store_path": str(job.work / "sqlite"),
        # Nobody else uses either database. By default they pause for a second after each batch,
        # which is most of the time that a small database takes.
        "background_updates": {"sleep_enabled": False, "sleep_duration_ms": 0},
    }
    write_file(path, json.dumps(options), 0o600, job.account, lasting=False)


def _run(job: Port, command: Sequence[str]) -> None:
    """Run a program of Synapse, and show its progress. Raises Failed."""
    last: list[str] = []
    shown: dict[str, int] = {}
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1"}
    environment |= dict(job.client.environment)
    with children.start(
        [sys.executable, "-P", "-m", *command],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=job.work / "sqlite",
        env=environment,
        encoding="utf-8",
        errors="replace",
        account=job.account,
    ) as process:
        try:
            for line in _lines(process):
                last = [*last, line][-LINES_SHOWN:]
                _show(line, shown, job.say)
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        name = command[0].rpartition(".")[2]
        text = "\n".join(last)
        raise Failed(f"{name} failed with status {process.returncode}:\n{text}")


def _lines(process: "subprocess.Popen[str]") -> Iterator[str]:
    for line in process.stdout or ():
        yield line.rstrip("\n")


def _show(line: str, shown: dict[str, int], say: Say) -> None:
    """Show a line of progress of synapse_port_db, if it says something new."""
    found = PROGRESS.match(line)
    if found is None:
        if STATE.match(line):
            say(line.removesuffix("..."))
        return
    table, tenth = found["table"], int(found["percent"]) // 10
    if int(found["total"]) > 0 and tenth > shown.get(table, 0 if tenth < 10 else -1):
        shown[table] = tenth
        say(f"{table}: {10 * tenth} % of {found['total']} rows")


def _check_counts(job: Port, copy: Path) -> None:
    """Compare the number of rows of all tables. Raises Failed."""
    number, wrong = differences(copy, job.client)
    if wrong:
        raise Failed("the number of rows differs:\n" + "\n".join(wrong))
    job.say(f"checked the number of rows of {number} tables")


def _refused(
    file: Path, message: str, hint: str = "give the homeserver.db of Synapse"
) -> ConfigError:
    return ConfigError([Problem(variable=str(file), value=None, message=message, hint=hint)])
