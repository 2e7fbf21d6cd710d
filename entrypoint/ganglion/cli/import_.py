"""Read another Synapse installation, and print what Ganglion needs to do the same.

PATH is a homeserver.yaml, the file of a worker, a unit of systemd, a compose
file, or a directory with such files: Synapse's own layouts, the data volume of
its images, or the directory of the Ansible playbook. Several PATHs are read
together. The old installation is never changed.

Prints the variables with WORKERS, the workers with their roles and new names,
the options that are left for homeserver.d, and the fate of every option: taken,
replaced (by what), dropped (why) or not understood. Values of options are not
printed, as many are secret. Notes go to standard error.

With --write, makes a data directory that is ready to start: homeserver.d, the
signing key, the media store and the files that options name, and imported.env
with the variables. DIR must be new or empty. All is printed before it is
written, and nothing is left behind if it fails.

With --from-sqlite, moves the data of an SQLite file to PostgreSQL: into a new
embedded database in DIR, or without --write in GANGLION_DATA, or into the empty
database that POSTGRES_HOST and the rest of POSTGRES_ name. It works on a copy,
runs pending background updates and Synapse's own program, compares the number
of rows of all tables, and has the user directory made again. Stop the old
server first.

With --nginx, asks the old proxy's FILE and our table for every request that
Synapse serves, and prints those whose process changes, in groups; in JSON, each
request. The ports of listeners tell which old process a destination is.

Exit status: 0; 1 if the move of the data failed; 2 with all problems if a file
cannot be understood or used.
"""

import contextlib
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path

from ganglion.cli.backup import end
from ganglion.cli.output import print_json, print_notes
from ganglion.cli.verb import Verb
from ganglion.errors import ConfigError, Problem
from ganglion.importing import layout, moving, old_proxy, report, sqlite, writing
from ganglion.importing.findings import OldServer
from ganglion.importing.imported import Imported, interpret
from ganglion.importing.moving import Move
from ganglion.importing.sources import find
from ganglion.machine.installed import discover
from ganglion.plan import read_settings, read_variables
from ganglion.programs import registry
from ganglion.programs.postgres import client
from ganglion.settings.existing_database import SQLITE_FILE
from ganglion.settings.reading import impossible
from ganglion.topology import topology

HERE = ""


def options(parser: ArgumentParser) -> None:
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="PATH", help="a file or a directory to read"
    )
    parser.add_argument(
        "--nginx", type=Path, metavar="FILE", help="compare the old proxy's configuration"
    )
    parser.add_argument("--write", type=Path, metavar="DIR", help="make a data directory")
    parser.add_argument(
        "--seen-as",
        metavar="PATH",
        help="the path of DIR for the server, such as /data in a container (default: DIR)",
    )
    parser.add_argument(
        "--from-sqlite",
        nargs="?",
        const=HERE,
        metavar="FILE",
        help="move this file to PostgreSQL (default: the one that the options name)",
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    signal.signal(signal.SIGTERM, end)
    if not options.paths:
        return _in_place(options, environ)
    server = find(options.paths)
    found = interpret(server)
    planned = _planned(options, server, found)
    moved = None
    if options.from_sqlite is not None:
        target = {} if options.write is None else {"GANGLION_DATA": str(options.write.absolute())}
        file = _file(options, server)
        moved = _move({**environ, **target}, file, found.server_name)
    compared, remarks = _compare(options, environ, server, found)
    if options.json:
        proxies = {"proxy": old_proxy.as_json(compared)} if compared else {}
        print_json(report.as_json(found) | proxies)
    else:
        print(report.as_text(found))
        if compared:
            print(f"\n{old_proxy.as_text(compared)}")
        if planned:
            print("\nWRITES")
            print("\n".join(f"  {line}" for line in writing.described(planned, options.write)))
    sys.stdout.flush()
    print_notes([*found.notes, *remarks, *(planned.notes if planned else ())])
    own: tuple[str, ...] = ()
    if moved is not None:
        if not _carry_out(moved):
            return 1
        own = moving.ENTRIES
    if planned:
        writing.write(planned, options.write.absolute(), _say, own, _account(environ))
        _say(f"wrote {options.write}: start with --env-file {options.write}/imported.env")
    return 0


def _in_place(options: Namespace, environ: Mapping[str, str]) -> int:
    """Move the SQLite file of a data directory that Ganglion uses already."""
    if options.from_sqlite is None or options.write is not None:
        message, hint = "no PATH is given", "name the homeserver.yaml or its directory"
        raise ConfigError([_problem("PATH", None, message, hint)])
    settings = read_settings(environ)
    file = options.from_sqlite or settings.sqlite
    if file is None:
        message = "there is no SQLite file of a server in the data directory"
        hint = "name it: --from-sqlite FILE"
        raise ConfigError([_problem("GANGLION_DATA", settings.data, message, hint)])
    moved = _move(environ, Path(file), settings.server_name)
    return 0 if _carry_out(moved) else 1


def _planned(options: Namespace, server: OldServer, found: Imported) -> layout.Layout | None:
    """Return what --write writes. Raises ConfigError if it cannot be written."""
    if options.write is None:
        return None
    directory = options.write.absolute()
    reason = impossible(str(directory))
    if reason:
        raise ConfigError([_problem("--write", str(directory), reason, "correct it")])
    _, database = _sqlite(server)
    if database is not None and options.from_sqlite is None:
        # The new server would start with an empty database.
        message, hint = "is the database, and it would be left behind", "add --from-sqlite"
        raise ConfigError([_problem(str(database), None, message, hint)])
    planned = layout.plan(server, found, (options.seen_as or str(directory)).rstrip("/"))
    writing.check(directory, planned)
    return planned


def _compare(
    options: Namespace, environ: Mapping[str, str], server: OldServer, found: Imported
) -> tuple[tuple[old_proxy.Comparison, ...], list[str]]:
    """Compare the routes of the old proxy, if it is named. Raises ConfigError."""
    if options.nginx is None:
        return (), []
    settings = read_variables({**environ, "WORKERS": found.workers})
    return old_proxy.compare(options.nginx, server, found.names, topology.build(settings))


def _sqlite(server: OldServer) -> tuple[str, Path | None]:
    """Return the SQLite file that the old options name, and where it is. None if it is not used."""
    section = server.options.get("database")
    args = section.get("args") if isinstance(section, Mapping) else None
    named = args.get("database") if isinstance(args, Mapping) else None
    name = str(named or server.options.get("database_path") or SQLITE_FILE)
    if isinstance(section, Mapping) and section.get("name") == "psycopg2":
        return name, None
    return name, layout.locate(server, name)


def _file(options: Namespace, server: OldServer) -> Path:
    """Return the SQLite file: that of the command line, or the one of the old options."""
    if options.from_sqlite != HERE:
        return Path(options.from_sqlite)
    name, found = _sqlite(server)
    if found is None:
        message, hint = f"there is no SQLite file {name}", "name it: --from-sqlite FILE"
        raise ConfigError([_problem("--from-sqlite", None, message, hint)])
    return found


def _move(environ: Mapping[str, str], file: Path, server_name: str) -> Move:
    """Prepare a move. Raises ConfigError if it cannot begin."""
    settings = read_variables(environ)
    machine = discover(
        Path(settings.paths.postgres),
        (),
        registry.accounts(settings),
        postgres=settings.embedded_postgres,
        user=settings.uid,
        group=settings.gid,
    )
    moved = Move(
        file=file.absolute(),
        server_name=server_name,
        settings=settings,
        machine=machine,
        say=_say,
    )
    moving.ready(moved)
    return moved


def _carry_out(moved: Move) -> bool:
    """Move the data. Returns whether that worked."""
    try:
        moving.move(moved)
    except (sqlite.Failed, client.Failed) as error:
        print(f"ganglion: {error}\nnothing was moved", file=sys.stderr)
        return False
    _say(f"moved {moved.file} to PostgreSQL; the file is as it was")
    return True


def _account(environ: Mapping[str, str]) -> str | None:
    """Return the account of Synapse here. None if it is ours, or does not exist on this machine."""
    with contextlib.suppress(KeyError):
        return registry.account_here("synapse", read_variables(environ))
    return None


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _problem(variable: str, value: str | None, message: str, hint: str) -> Problem:
    return Problem(variable=variable, value=value, message=message, hint=hint)


VERB = Verb(name="import", manual=__doc__, run=run, options=options, json=True)
