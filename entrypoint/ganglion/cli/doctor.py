"""Check an installation, running or stopped, and print how to repair it.

Each line is a check: ✓ is good, ! deserves a look, ✗ hurts users now. Below
! and ✗ stand what it means and the commands or lines of configuration that
repair it. Type them where you typed `ganglion doctor`: in a container, after
`docker exec -it NAME bash`.

Nothing is changed or started. All checks run at once, within 2.6 seconds; what
does not answer by then is a `!`. docs/doctor.md lists the checks; --list does
too. Secrets are not printed.

Exit status: 0 if all is good, 1 if something deserves a look, 2 if something
hurts users now. In JSON, each finding has its check, level, message, meaning
and fix.
"""

import contextlib
import datetime as dt
import os
import pwd
import re
import socket
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path

from ganglion.cli.output import columns, print_json
from ganglion.cli.verb import Verb
from ganglion.data import identity
from ganglion.doctor import words
from ganglion.doctor.database import Database
from ganglion.doctor.finding import Check, Level
from ganglion.doctor.network import Network, nameservers
from ganglion.doctor.place import Place
from ganglion.doctor.runner import Result, examine, worst
from ganglion.doctor.table import CHECKS
from ganglion.errors import ConfigError, Problem
from ganglion.machine import installed, nss_wrapper
from ganglion.machine.limits import chosen
from ganglion.machine.unix_accounts import is_numeric, numbers
from ganglion.plan import assemble, notes_on
from ganglion.programs import registry
from ganglion.programs.program import Plan
from ganglion.settings import adoption, environment, operator_files, parsers
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.reading import LARGEST_SECRET, read_text
from ganglion.settings.variables import Settings

# Seconds from the start of this process to the end of all checks, so that all stays below 3 s.
LIMIT = 2.6
# Parts of it: for a connection to the database, one query, and one step of a request.
CONNECT, QUERY, STEP = 0.7, 0.3, 0.4
# The services whose accounts matter.
SERVICES = ("synapse", "postgres")
# Of the notes on a configuration that works, those on settings that do not do what they say.
NO_EFFECT = re.compile("has no effect|is replaced|is ignored")
MARKS = {Level.GOOD: "✓", Level.NOTICE: "!", Level.BAD: "✗", Level.SKIPPED: "-"}
STATUS = {Level.GOOD: 0, Level.NOTICE: 1, Level.BAD: 2}


def options(parser: ArgumentParser) -> None:
    parser.add_argument("checks", nargs="*", metavar="CHECK", help="only these checks")
    parser.add_argument("--list", action="store_true", help="print the names of all checks")
    parser.add_argument(
        "--wait", metavar="SECONDS", help=f"the time for all checks (default: {LIMIT})"
    )
    parser.add_argument(
        "--all", action="store_true", help="also print the checks that do not apply here"
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    checks, limit = _chosen(options.checks), _limit(options.wait)
    if options.list:
        if options.json:
            print_json([{"check": check.name, "about": check.about} for check in checks])
        else:
            print(columns(("CHECK", "ABOUT"), [(check.name, check.about) for check in checks]))
        return 0
    place = look_around(environ, limit)
    hidden = words.secrets_of(place)
    used = age() if options.wait is None else 0.0
    results = words.safe(examine(checks, place, limit, used), hidden)
    if options.json:
        print_json(as_json(results))
    else:
        print(as_text(results, everything=options.all))
    return STATUS[worst(results)]


def age() -> float:
    """Return the seconds since this process started; 0 for one that does other things too."""
    try:
        # Fields are counted behind the name, which may have spaces: proc_pid_stat(5).
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        found = time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
    return found if 0 < found < LIMIT else 0.0


def look_around(environ: Mapping[str, str], limit: float) -> Place:
    """Find out which installation there is. Its checks get `limit` seconds.

    A configuration that does not work is read as far as possible.
    """
    plan: Plan | None = None
    operator = OperatorFiles()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    try:
        plan = assemble(environ)
        settings, operator = plan.settings, plan.operator
        notes = tuple(filter(NO_EFFECT.search, notes_on(plan, environ)))
    except ConfigError as error:
        problems = error.problems
        settings, _ = environment.read(
            environ, lambda path: read_text(path, LARGEST_SECRET), os.path.exists
        )
        with contextlib.suppress(ConfigError):
            operator = operator_files.load(settings)
            settings = adoption.adopt(settings, operator)
    if plan is not None:
        problems = identity_problems(plan)
    running = is_running(settings)
    accounts = accounts_of(settings)
    return Place(
        settings=settings,
        operator=operator,
        plan=plan,
        problems=problems,
        notes=notes,
        running=running,
        now=dt.datetime.now(dt.UTC),
        limits=chosen(installed.here(), memory=settings.memory, cpus=settings.cpus),
        database=database_of(settings, limit, running=running),
        network=Network(nameservers=nameservers(), timeout=limit * STEP),
        accounts=accounts,
        postgres_role=postgres_role(accounts),
        postgres_bin=installed.postgres_programs(Path(settings.paths.postgres)),
        environ=environ,
    )


def identity_problems(plan: Plan) -> tuple[Problem, ...]:
    """Return the problems of data that belong to another server."""
    try:
        identity.check(plan.settings, plan.operator, identity.read(plan.settings.paths))
    except ConfigError as error:
        return error.problems
    return ()


def accounts_of(settings: Settings) -> dict[str, str]:
    """Return the accounts of Synapse and PostgreSQL; none if they have this process's own.

    Only root can look at the files of others. The lock belongs to the account that started last.
    """
    if os.geteuid() != 0:
        return {}
    try:
        starter = Path(settings.paths.lock).stat()
    except OSError:
        starter = None
    if starter is not None and starter.st_uid != 0:
        # A start without root: all programs have its account.
        return dict.fromkeys(SERVICES, f"{starter.st_uid}:{starter.st_gid}")
    found = {}
    known = dict(installed.accounts(registry.ACCOUNTS, settings.uid, settings.gid))
    for service in SERVICES:
        with contextlib.suppress(KeyError):
            numbers(known[service])
            found[service] = known[service]
    return found


def postgres_role(accounts: Mapping[str, str]) -> str:
    """Return the role of the embedded database's administrator: its account's name."""
    account = accounts.get("postgres")
    if account is not None and not is_numeric(account):
        return account
    user = os.geteuid() if account is None else numbers(account)[0]
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return nss_wrapper.NAME


def is_running(settings: Settings) -> bool:
    """Return whether a supervisor listens in the run directory."""
    with socket.socket(socket.AF_UNIX) as trying:
        trying.settimeout(0.5)
        try:
            trying.connect(settings.paths.supervisor_socket)
        except PermissionError:
            # Of another account: it is there.
            return True
        except OSError:
            return False
    return True


def database_of(settings: Settings, limit: float, *, running: bool) -> Database:
    """Return the connection for the checks, which is not opened yet."""
    absent = None
    if settings.sqlite is not None:
        absent = "the database is SQLite"
    elif settings.embedded_postgres and not running:
        absent = "the embedded database is stopped"

    def connect() -> object:
        import psycopg2  # noqa: PLC0415
        from psycopg2.extras import wait_select  # noqa: PLC0415

        from ganglion.programs.postgres import external  # noqa: PLC0415

        arguments = external.arguments(settings)
        arguments["host"] = settings.postgres_host or settings.paths.postgres_sockets
        if Path(settings.paths.pgpass).exists():
            # It has the password even where this process lacks the variable.
            arguments.pop("password", None)
            arguments.setdefault("passfile", settings.paths.pgpass)
        # Asynchronous: then psycopg2 receives the notices that libpq prints otherwise.
        connection = psycopg2.connect(**arguments, application_name="ganglion doctor", async_=True)
        wait_select(connection)
        return connection

    return Database(connect, wait=limit * CONNECT, limit=int(limit * QUERY * 1000), absent=absent)


def _chosen(names: Sequence[str]) -> tuple[Check, ...]:
    by_name = {check.name: check for check in CHECKS}
    problems = [
        Problem(
            variable="CHECK",
            value=name,
            message="unknown check",
            hint="type `ganglion doctor --list`",
        )
        for name in names
        if name not in by_name
    ]
    if problems:
        raise ConfigError(problems)
    return tuple(by_name[name] for name in names) or CHECKS


def _limit(text: str | None) -> float:
    if text is None:
        return LIMIT
    try:
        return parsers.duration_of(0.1, 3600)(text)
    except parsers.Invalid as invalid:
        problem = Problem(variable="--wait", value=text, message=invalid.message, hint=invalid.hint)
        raise ConfigError([problem]) from invalid


def as_text(results: Sequence[Result], *, everything: bool = False) -> str:
    """Format the findings, and a last line with their numbers."""
    width = max(len(result.check.name) for result in results)
    lines, numbers = [], dict.fromkeys(Level, 0)
    skipped = []
    for result in results:
        for finding in result.findings:
            numbers[finding.level] += 1
            if finding.level is Level.SKIPPED and not everything:
                skipped.append(result.check.name)
                continue
            lines.append(
                f"{MARKS[finding.level]} {result.check.name.ljust(width)}  {finding.message}"
            )
            indent = " " * (width + 4)
            if finding.means:
                lines.append(f"{indent}means: {finding.means}")
            lines += [
                f"{indent}{'fix:  ' if number == 0 else '      '} {line}"
                for number, line in enumerate(finding.fix)
            ]
    counted = ", ".join(
        f"{numbers[level]} {MARKS[level]}" for level in (Level.GOOD, Level.NOTICE, Level.BAD)
    )
    if skipped:
        counted += f"; not applicable: {', '.join(dict.fromkeys(skipped))} (--all says why)"
    return "\n".join([*lines, counted])


def as_json(results: Sequence[Result]) -> list[dict[str, object]]:
    """Return the findings as values for JSON."""
    return [
        {
            "check": result.check.name,
            "level": finding.level.value,
            "message": finding.message,
            "means": finding.means,
            "fix": list(finding.fix),
        }
        for result in results
        for finding in result.findings
    ]


VERB = Verb(name="doctor", manual=__doc__, run=run, options=options, json=True)
