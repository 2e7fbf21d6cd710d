"""Print the state of every process.

Asks the supervisor of the running server, and the control application for the
health of each. UPTIME is in seconds. STARTS is one more than its restarts.
MEMORY counts a page that several processes share in equal parts. CPU is the
part of one processor, on average since the start or, with --watch, since the
last look. PROBLEM says why a process could not be started, or does not do its
work. A row without a process is a part that does not work, such as `disk`. With
GANGLION_BACKUP, the row `backup` says how the last scheduled backup went. The
last lines are the health of the server, as on the control port, and whether the
layout is that of WORKERS; after `ganglion apply`, the row `layout` has it.

--watch looks again and again until Ctrl-C, also while the server starts again;
with --json, each look is one line. On a terminal the table is cut to its size:
rows with a problem first, if not all fit.
In JSON, memory is in bytes, and `processor` is the processor time in seconds.
"""

import datetime as dt
import json
import shutil
import sys
import textwrap
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from ganglion.cli.output import columns, print_json
from ganglion.cli.verb import Verb
from ganglion.control.status import ProcessStatus, health, status
from ganglion.control.usage import usage
from ganglion.data import applied_workers
from ganglion.data.backup import schedule
from ganglion.errors import ConfigError
from ganglion.plan import read_settings
from ganglion.settings.variables import Settings

LAYOUT = "layout"
TITLES = ("PROCESS", "STATE", "PID", "UPTIME", "STARTS", "MEMORY", "CPU", "PROBLEM")
MB = 1024**2
# In seconds, between two looks.
EVERY = 2.0
# Moves the cursor to the first line, and clears everything from there.
CLEAR = "\x1b[H\x1b[J"


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--watch", action="store_true", help="look again every two seconds")


@dataclass(slots=True)
class Table:
    """Formats looks at the processes. Keeps the last one, for the processor time between them.

    The times are monotonic, in seconds.
    """

    _at: float | None = None
    _before: dict[int, float] = field(default_factory=dict)

    def format(self, found: Sequence[ProcessStatus], now: float) -> str:
        """Return the table of a look at `now`."""
        past = None if self._at is None else now - self._at
        rows = [
            (
                item.name,
                item.state,
                str(item.pid or "-"),
                f"{item.uptime} s",
                "-" if item.starts is None else str(item.starts),
                "-" if item.memory is None else f"{item.memory / MB:.0f} MB",
                self._part(item, past),
                item.description,
            )
            for item in found
        ]
        self._at = now
        self._before = {
            item.pid: item.processor for item in found if item.pid and item.processor is not None
        }
        return columns(TITLES, rows)

    def _part(self, item: ProcessStatus, past: float | None) -> str:
        """Return the part of a processor, as text."""
        if item.processor is None:
            return "-"
        used, seconds = item.processor, float(max(1, item.uptime))
        if past and item.pid in self._before:
            # Children that have ended took their time with them.
            used, seconds = max(0.0, used - self._before[item.pid]), past
        return f"{100 * used / seconds:.1f} %"


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    settings = read_settings(environ)
    if options.watch:
        return _watch(settings, as_json=options.json)
    found, words = _look(settings)
    if options.json:
        print_json([asdict(item) for item in found])
    else:
        print(Table().format(found, time.monotonic()))
        if words:
            print(f"\n{words}")
        if not any(item.name == LAYOUT for item in found):
            print("\nlayout: of the variable WORKERS")
    return 0


def _watch(settings: Settings, *, as_json: bool) -> int:
    table, seen = Table(), False
    try:
        while True:
            try:
                found, words = _look(settings)
            except ConfigError as error:
                if not seen:
                    raise
                # It may start again.
                found, words = [], str(error)
            seen = True
            if as_json:
                text = json.dumps([asdict(item) for item in found])
            else:
                text = _screen(table, found, words)
            print(text, flush=True)
            time.sleep(EVERY)
    except KeyboardInterrupt:
        return 0


def _screen(table: Table, found: Sequence[ProcessStatus], words: str) -> str:
    """Return a look as text: for a terminal of its size, else with the time before it."""
    now = time.monotonic()
    if not sys.stdout.isatty():
        at = dt.datetime.now(dt.UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return f"{at}\n{table.format(found, now)}\n\n{words}\n"
    size = shutil.get_terminal_size()
    told = [line for text in words.splitlines() for line in textwrap.wrap(text, size.columns)]
    # The titles, an empty line before the words, and one for the cursor.
    room = max(1, size.lines - len(told) - 3)
    chosen = found if len(found) <= room else fitting(found, room - 1)
    lines = table.format(chosen, now).splitlines()
    if len(chosen) < len(found):
        lines.append(f"and {len(found) - len(chosen)} more")
    return CLEAR + "\n".join([*(line[: size.columns] for line in lines), "", *told])


def fitting(found: Sequence[ProcessStatus], room: int) -> list[ProcessStatus]:
    """Return at most `room` rows in their order: those with a problem rather than others."""
    troubled = [item.name for item in found if item.description]
    names = list(dict.fromkeys([*troubled, *(item.name for item in found)]))
    return [item for item in found if item.name in names[: max(0, room)]]


def _look(settings: Settings) -> tuple[list[ProcessStatus], str]:
    """Return the rows, and the health of the server in words; none without its application."""
    found = [_measured(item) for item in status(settings)]
    said = health(settings)
    rows = found if said is None else with_problems(found, said.problems)
    words = "" if said is None else said.words
    return [*rows, *_backup(settings), *_layout(settings)], words


def with_problems(
    found: Sequence[ProcessStatus], problems: Mapping[str, str]
) -> list[ProcessStatus]:
    """Add the problem of each process, and a row for each other part that has one."""
    rows = [
        replace(item, description=item.description or problems.get(item.name, "")) for item in found
    ]
    others = problems.keys() - {item.name for item in found}
    return rows + [
        ProcessStatus(name=name, state="FAILED", pid=0, uptime=0, description=problem)
        for name, problem in problems.items()
        if name in others
    ]


def _measured(item: ProcessStatus) -> ProcessStatus:
    used = usage(item.pid) if item.pid else None
    if used is None:
        return item
    return replace(item, memory=used.memory, processor=used.processor)


def _backup(settings: Settings) -> Iterator[ProcessStatus]:
    """Yield a row for scheduled backups. Its uptime is the time since the last one."""
    if settings.backup_directory is None:
        return
    state = schedule.read_state(settings)
    if state is None:
        yield ProcessStatus(name="backup", state="WAITING", pid=0, uptime=0, description="")
        return
    text = state.text if state.state == schedule.FAILED else ""
    age = max(0, int(time.time()) - state.at)
    yield ProcessStatus(name="backup", state=state.state, pid=0, uptime=age, description=text)


def _layout(settings: Settings) -> Iterator[ProcessStatus]:
    """Yield a row for a layout that replaces WORKERS. A start removes the record of another one."""
    applied = applied_workers.read(settings.paths)
    if applied is not None:
        text = f"{applied.workers}; {applied.described}"
        yield ProcessStatus(name=LAYOUT, state="APPLIED", pid=0, uptime=0, description=text)


VERB = Verb(name="status", manual=__doc__, run=run, options=options, json=True)
