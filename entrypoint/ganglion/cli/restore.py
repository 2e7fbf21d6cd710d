"""Restore a backup into an empty data directory.

Checks all of FILE, the versions and the room on the disks before it writes
anything. The server must be stopped. An embedded database is made in the data
directory; an external one is named by POSTGRES_HOST and the rest of POSTGRES_,
and must be empty. Files that were outside of the data directory go to
DATA/outside. Restore only backups that you trust: your files can run code.

A restore that was interrupted goes on, or begins anew, when it is typed again.
No server starts before it has ended.

Exit status: 0 if the server can be started, 1 if the restore failed, 2 if FILE
or the configuration cannot be used. After 1 and 2 nothing is left behind.
"""

import contextlib
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from ganglion.cli.backup import end, programs
from ganglion.cli.output import print_notes
from ganglion.cli.progress import Bar
from ganglion.cli.verb import Verb
from ganglion.data.backup.restore import Request, restore
from ganglion.data.backup.verify import Verified
from ganglion.machine import temporary
from ganglion.machine.installed import Machine, discover
from ganglion.plan import read_variables
from ganglion.programs import registry
from ganglion.programs.postgres.client import Client, Failed, of_server
from ganglion.settings.variables import Settings


def options(parser: ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="the backup")
    parser.add_argument("--media", metavar="DIRECTORY", help="an empty directory for the media")


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    signal.signal(signal.SIGTERM, end)
    temporary.check()
    settings = read_variables(environ)
    machine = discover(
        Path(settings.paths.postgres),
        (),
        registry.accounts(settings),
        postgres=settings.embedded_postgres,
        user=settings.uid,
        group=settings.gid,
    )
    bar = Bar()
    path = Path(options.file)
    with contextlib.suppress(OSError):
        bar.total = path.stat().st_size
    request = Request(
        path=path,
        settings=settings,
        machine=machine,
        client=_client(settings, machine),
        media=Path(options.media).absolute() if options.media else None,
        say=lambda line: print(line, file=sys.stderr),
        progress=bar.show,
    )
    try:
        with contextlib.closing(bar):
            found = restore(request)
    except Failed as error:
        print(f"ganglion: {error}\nnothing was restored", file=sys.stderr)
        return 1
    _print(request, found)
    return 0


def _client(settings: Settings, machine: Machine) -> Client:
    """Return the client of an external database, or of none. Raises ConfigError."""
    if settings.embedded_postgres:
        return Client(programs=machine.postgres_bin, dsn="", account=machine.account("synapse"))
    return of_server(settings, programs(), machine.account("synapse"))


def _print(request: Request, found: Verified) -> None:
    summary, settings = found.summary, request.settings
    print(f"restored {summary.server_name} into {settings.data}: start the server as before")
    notes = []
    if summary.data != settings.data:
        notes.append(f"it was in {summary.data}: correct paths in your files that name it")
    if request.media is not None:
        notes.append(f"the media store is {request.media}: media_store_path has to name it")
    if Path(settings.paths.outside).exists():
        notes.append(f"put the files in {settings.paths.outside} into their places")
    if not summary.remote_media:
        notes.append("media of other servers are fetched again when they are asked for")
    notes += [f"{name!r} became shorter while it was backed up" for name in found.cut]
    print_notes(notes)


VERB = Verb(name="restore", manual=__doc__, run=run, options=options)
