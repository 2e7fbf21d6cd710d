"""Back up the running server, or check a backup.

Writes the database as of one moment, media, keys, secrets and your files to
FILE, or to standard output for `-`. The server goes on meanwhile. FILE gets its
name when it is whole, and an existing one is never overwritten. Keep it secret:
it holds the keys of the server. One-time keys are left out, and so are copies
of media of other servers, unless asked for.

--verify reads all of a backup, without a server. --rehearse also restores its
database into a temporary PostgreSQL server, where Synapse has to accept it.

Exit status: 0 if the backup is whole, 1 if it could not be made, 2 if FILE or
the configuration cannot be used.
"""

import contextlib
import datetime as dt
import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, MutableMapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import BinaryIO, NoReturn

from ganglion.cli.output import print_json, print_notes
from ganglion.cli.progress import Bar
from ganglion.cli.verb import Verb
from ganglion.control.status import status
from ganglion.data.backup import rehearse, target, verify
from ganglion.data.backup.contents import Contents
from ganglion.data.backup.make import make
from ganglion.data.backup.target import Sink
from ganglion.data.backup.verify import Verified
from ganglion.errors import ConfigError, Problem
from ganglion.machine import temporary
from ganglion.machine.installed import discover
from ganglion.plan import read_settings, read_variables
from ganglion.programs import registry
from ganglion.programs.postgres import dump
from ganglion.programs.postgres.client import Client, Failed, newest_programs, of_server
from ganglion.settings import operator_files
from ganglion.settings.variables import Settings

STDOUT = "-"
MB = 1024**2


def options(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the backup; - is standard output")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--verify", action="store_true", help="read and check a backup")
    what.add_argument("--rehearse", action="store_true", help="also restore its database, on trial")
    what.add_argument("--remote-media", action="store_true", help="copies of remote media as well")


def run(options: Namespace, environ: MutableMapping[str, str]) -> int:
    signal.signal(signal.SIGTERM, end)
    temporary.ensure(environ, read_variables(environ).paths.temporary)
    temporary.check()
    try:
        if options.verify or options.rehearse:
            return _check(options, environ)
        return _make(options, environ)
    except Failed as error:
        print(f"ganglion: {error}", file=sys.stderr)
        return 1


def end(_number: int, _frame: object) -> NoReturn:
    """End in order after SIGTERM: a half-written backup is removed."""
    raise SystemExit(128 + signal.SIGTERM)


def programs() -> str:
    """Return the directory of PostgreSQL's client programs. Raises ConfigError."""
    found = newest_programs()
    if found is None:
        hint = "apt-get install postgresql-client"
        raise ConfigError(
            [Problem(variable="pg_dump", value=None, message="is not installed", hint=hint)]
        )
    return found


def _make(options: Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(environ)
    if settings.sqlite is not None:
        hint = f"stop the server and copy {settings.data}"
        message = "is the database, and only those of PostgreSQL can be backed up"
        raise ConfigError(
            [Problem(variable="SQLite", value=settings.sqlite, message=message, hint=hint)]
        )
    if options.file == STDOUT and sys.stdout.isatty():
        raise ConfigError([_terminal()])
    if settings.embedded_postgres:
        # It says so if no server runs.
        status(settings)
    account = registry.account_here("synapse", settings)
    client = of_server(settings, programs(), account)
    notes: list[str] = []
    contents = Contents(
        settings=settings,
        operator=operator_files.load(settings),
        account=account,
        remote_media=options.remote_media,
        note=notes.append,
    )
    bar = Bar()
    if sys.stderr.isatty():
        quiet = replace(contents, note=lambda _: None)
        bar.total = quiet.size() + dump.facts(client).size // 4
    try:
        scratch = None if options.file == STDOUT else Path(options.file).absolute().parent
        with contextlib.closing(bar), _sink(options.file) as sink:
            made = make(sink, contents, client, bar.show, scheduled=False, scratch=scratch)
    except BrokenPipeError:
        raise Failed("the reader of the backup has gone") from None
    print_notes(notes)
    stream = sys.stderr if options.file == STDOUT else sys.stdout
    if options.json and options.file != STDOUT:
        print_json({"file": options.file, **asdict(made), "notes": notes})
    else:
        size = f"{made.size / MB:.1f} MB"
        print(f"{options.file}: {made.files} files, {size}, {made.sha256}", file=stream)
    return 0


def _terminal() -> Problem:
    return Problem(
        variable="FILE",
        value=STDOUT,
        message="is a terminal",
        hint="name a file, or redirect standard output to one",
    )


@contextlib.contextmanager
def _sink(name: str) -> Iterator[Sink]:
    if name != STDOUT:
        with target.written(Path(name).absolute()) as sink:
            yield sink
        return
    out: BinaryIO = sys.stdout.buffer
    try:
        yield out
        out.flush()
    except BrokenPipeError:
        # Python flushes it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
    except OSError as error:
        if error.filename is None:
            error.filename = "standard output"
        raise


def _check(options: Namespace, environ: Mapping[str, str]) -> int:
    path = Path(options.file)
    bar = Bar()
    settings = read_variables(environ)
    with verify.opened(path) as file, contextlib.closing(bar):
        bar.total = os.fstat(file.fileno()).st_size
        found = verify.verify(path, file, bar.show)
        text = _read_dump(settings, path, file)
        tried = None
        if options.rehearse:
            machine = discover(
                Path("/nonexistent"),
                (),
                registry.accounts(replace(settings, postgres_host=None)),
                postgres=True,
                user=settings.uid,
                group=settings.gid,
            )
            tried = rehearse.rehearse(settings, machine, file, found)
    summary = found.summary
    if options.json:
        values = {"file": options.file, "size": found.size, "summary": asdict(summary)}
        values |= {"files": found.members, "sha256": found.sha256, "dump": text}
        print_json({**values, "cut": found.cut, "rehearsal": tried and asdict(tried)})
        return 0
    print(_described(found, text))
    for name in found.cut:
        print(f"note: {name!r} became shorter while it was read", file=sys.stderr)
    if tried is not None:
        print(
            f"rehearsed: Synapse accepts the database; {tried.users} users, {tried.rooms} rooms,"
            f" {tried.events} events"
        )
    return 0


def _read_dump(settings: Settings, path: Path, file: BinaryIO) -> int | None:
    """Have pg_restore read the dump, if it is installed. Returns the size of its text."""
    directory = newest_programs()
    if directory is None:
        print_notes(["the dump in it was not read: pg_restore is not installed"])
        return None
    account = registry.account_here("synapse", settings)
    with contextlib.suppress(KeyError):
        client = Client(programs=directory, dsn="", account=account)
        pieces = verify.database(file, verify.ends(file).listing)
        try:
            return dump.measure(client, pieces, dump.growth)
        except Failed as error:
            message = f"has a dump that cannot be read: {error}"
            raise ConfigError(
                [Problem(variable="FILE", value=str(path), message=message, hint="use another")]
            ) from error
    print_notes(["the dump in it was not read: the account of Synapse does not exist here"])
    return None


def _described(found: Verified, text: int | None) -> str:
    summary = found.summary
    when = dt.datetime.fromtimestamp(summary.created, dt.UTC)
    read = "" if text is None else f", {text / MB:.1f} MB of text"
    versions = f"Ganglion {summary.ganglion}, Synapse {summary.synapse} (schema {summary.schema})"
    versions += f", PostgreSQL {summary.postgres}"
    return "\n".join(
        (
            f"server    {summary.server_name}, {when:%Y-%m-%d %H:%M:%S} UTC",
            f"versions  {versions}",
            f"database  {summary.kind}, {found.database / MB:.1f} MB{read}",
            f"media     {found.media_members} files, {found.media / MB:.1f} MB",
            f"all       {found.members} files, {found.size / MB:.1f} MB, {found.sha256}",
            "every byte is as it was written",
        )
    )


VERB = Verb(name="backup", manual=__doc__, run=run, options=options, json=True)
