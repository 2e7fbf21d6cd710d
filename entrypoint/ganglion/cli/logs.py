"""Print the last lines of all processes, or follow them.

The lines are those that the running server keeps in memory: see
GANGLION_LOG_MEMORY. `docker logs` has all of them. Each line has its time,
process, level and, where there is one, the ID of its request. A further line of
a message is indented.

NAME chooses processes. --since takes a time such as 2026-11-27T12:00:00, with
a Z behind it for UTC, or how long ago, such as 10m. --request prints the way of
one request through the processes; its ID is in the response, as X-Request-ID.
--follow waits for the next start when the server stops.

--set-level NAME LEVEL changes what a process logs, at once and until the server
starts again: main, a worker, nginx, postgres, redis or control. nginx cannot
log less than INFO.
"""

import contextlib
import datetime as dt
import signal
import sys
import time
from argparse import ArgumentParser, Namespace
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from ganglion.cli.verb import Verb
from ganglion.control.log_level import set_level
from ganglion.control.logs import Line, lines
from ganglion.control.status import status
from ganglion.errors import ConfigError, Problem
from ganglion.logs.record import LEVELS, as_json, at_least, is_of, timestamp
from ganglion.logs.way import way
from ganglion.plan import read_settings, running_topology
from ganglion.programs.synapse.logging import role
from ganglion.settings import parsers
from ganglion.settings.variables import Settings

OTHERS = ("supervisor", "ganglion")
# In seconds, between two attempts to reach a server that has stopped.
AGAIN = 0.5
MOST_LINES = 10**9


def options(parser: ArgumentParser) -> None:
    parser.add_argument("names", nargs="*", metavar="NAME", help="a process, such as main or nginx")
    parser.add_argument("-f", "--follow", action="store_true", help="print further lines, too")
    parser.add_argument("-n", "--lines", metavar="N", help="the last N records only")
    parser.add_argument("--since", metavar="TIME", help="those after a time, such as 10m ago")
    parser.add_argument("--level", metavar="LEVEL", help="those of this level, and worse ones")
    parser.add_argument("--request", metavar="ID", help="those of one request, in order")
    parser.add_argument(
        "--set-level", nargs=2, metavar=("NAME", "LEVEL"), help="change what a process logs"
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(environ)
    if options.set_level is not None:
        name, level = options.set_level
        in_force = set_level(settings, name, _level("--set-level", level))
        print(f"{name} logs from level {in_force} on, until the server starts again")
        return 0
    most = _number(options.lines)
    chosen = Chosen(
        names=_known(settings, options.names),
        since=_since(options.since),
        levels=frozenset(at_least(_level("--level", options.level or "DEBUG"))),
        request=options.request,
    )
    roles = {process.name: role(process) for process in running_topology(settings).processes}
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        return _print(settings, options, chosen, roles, most)
    except KeyboardInterrupt:
        return 0 if options.follow else 128 + signal.SIGINT


def _print(
    settings: Settings,
    options: Namespace,
    chosen: "Chosen",
    roles: Mapping[str, str],
    most: int | None,
) -> int:
    found = lines(settings, follow=options.follow)
    past: deque[Line] = deque(maxlen=most)
    for line in found:
        if line is None:
            # All that was kept has come.
            break
        if chosen.has(line):
            past.append(line)
    kept = sorted(past, key=lambda line: line.record.time)
    if options.request and kept and not options.json:
        print(way((line.process, line.record) for line in kept), file=sys.stderr)
    for line in kept:
        _show(line, roles, as_object=options.json)
    sys.stdout.flush()
    while options.follow:
        for line in found:
            if line is not None and chosen.has(line):
                _show(line, roles, as_object=options.json)
                sys.stdout.flush()
        print("the server has stopped; waiting for its next start", file=sys.stderr)
        found = _lines_of_next_start(settings)
    if options.request and not kept and not options.follow:
        print(f"no line of the request {options.request!r} is kept", file=sys.stderr)
        return 1
    return 0


def _lines_of_next_start(settings: Settings) -> Iterator[Line | None]:
    """Wait until a server runs again, and follow it from its first line."""
    while True:
        time.sleep(AGAIN)
        found = lines(settings, follow=True)
        with contextlib.suppress(ConfigError):
            # The connection is made for the first line.
            return chain((next(found),), found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The lines to print. No names mean all processes."""

    names: frozenset[str] = field(default=frozenset())
    since: float
    levels: frozenset[str]
    request: str | None

    def has(self, line: Line) -> bool:
        """Return whether a line is among them."""
        record = line.record
        return (
            (not self.names or line.process in self.names)
            and record.time >= self.since
            and record.level in self.levels
            and (self.request is None or is_of(record, self.request))
        )


def _show(line: Line, roles: Mapping[str, str], *, as_object: bool) -> None:
    record = line.record
    if as_object:
        print(as_json(record, line.process, roles.get(line.process, line.process)))
        return
    request = f" {record.request}" if record.request else ""
    print(f"{timestamp(record.time)} {line.process} {record.level}{request} {record.message}")


def _level(option: str, text: str) -> str:
    if text.upper() in LEVELS:
        return text.upper()
    raise _problem(option, text, "is not a level", f"write one of {', '.join(LEVELS)}")


def _number(text: str | None) -> int | None:
    """Return the number of records to print; None for all."""
    if text is None:
        return None
    try:
        return parsers.whole_number(0, MOST_LINES)(text)
    except parsers.Invalid as invalid:
        raise _problem("--lines", text, invalid.message, invalid.hint) from invalid


def _known(settings: Settings, names: Sequence[str]) -> frozenset[str]:
    """Return the names. Raises ConfigError for one that no process here has."""
    known = [*OTHERS, *(item.name for item in status(settings))] if names else []
    for name in names:
        if name not in known:
            hint = f"use one of {', '.join(known)}"
            raise _problem("NAME", name, "is not a process here", hint)
    return frozenset(names)


def _since(text: str | None) -> float:
    """Return a time in seconds since 1970, from a time or from how long ago it was."""
    if text is None:
        return 0.0
    try:
        return time.time() - parsers.duration(text)
    except parsers.Invalid:
        pass
    try:
        return dt.datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        hint = "write how long ago, such as 10m, or a time such as 2026-11-27T12:00:00"
        raise _problem("--since", text, "is not a time", hint) from error


def _problem(option: str, value: str, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(variable=option, value=value, message=message, hint=hint)])


VERB = Verb(name="logs", manual=__doc__, run=run, options=options, json=True)
