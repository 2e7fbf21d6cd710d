"""The memory and the processor time of a server's Python processes."""

import argparse
import contextlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

from tests.processes import descendants

FORKS = "synapse.app.complement_fork_starter"


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A Python process: its ID on this machine, and Ganglion's name for it."""

    pid: int
    name: str


def programs(supervisor: int) -> tuple[Program, ...]:
    """The Python processes of a server, the supervisor first.

    Raises PermissionError where they belong to somebody else and we are not root.
    """
    found = []
    for pid in (supervisor, *descendants(supervisor)):
        # A connection of PostgreSQL may end before it is looked at.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}/exe").readlink().name.startswith("python"):
                words = Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0 ").split("\0")
                found.append(Program(pid=pid, name=name_of(words)))
    return tuple(found)


def family(supervisor: int) -> tuple[Program, ...]:
    """Every process of a server, the supervisor first. Other programs go by their command.

    Raises PermissionError as programs() does.
    """
    python = {program.pid: program for program in programs(supervisor)}
    found = []
    for pid in (supervisor, *descendants(supervisor)):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # Not of /proc/PID/exe, where Debian's redis-server is one with redis-check-rdb.
            name = Path(f"/proc/{pid}/comm").read_text().strip()
            found.append(python.get(pid) or Program(pid=pid, name=name))
    return tuple(found)


def name_of(words: list[str]) -> str:
    """Ganglion's name for the process with this command line.

    Those that Synapse's own image forks all keep the command line of the one that forks them.
    """
    titled = re.match(r"([\w-]+): (\S+)", words[0])
    if titled:
        return titled[2] if titled[1] == "ganglion" else titled[1]
    if FORKS in words:
        return "forked"
    if any(word.endswith("/supervisord") for word in words[:2]):
        return "supervisor"
    own = [re.search(r"/workers/([\w-]+)\.yaml$", word) for word in words]
    return next((found[1] for found in own if found), "main")


def pss(pid: int) -> float:
    """Megabytes (10⁶ bytes) of memory, each shared page divided by how many share it.

    https://docs.kernel.org/filesystems/proc.html
    """
    return proportional(Path(f"/proc/{pid}/smaps_rollup").read_text())


def proportional(rollup: str) -> float:
    """The same out of the text of smaps_rollup. Raises ValueError where it has no such line."""
    found = re.search(r"^Pss:\s+(\d+) kB$", rollup, re.MULTILINE)
    if found is None:
        raise ValueError(f"no Pss in:\n{rollup}")
    return int(found[1]) * 1024 / 1e6


def processor_seconds(pid: int) -> float:
    """Seconds that a process has run, all its threads together, to the nanosecond.

    The clock of another process, as clock_getcpuclockid(3) makes its number; /proc counts in
    hundredths of a second, which is more than an idle worker needs.
    """
    return time.clock_gettime((~pid << 3) | 2)


def spent(supervisor: int) -> float:
    """Seconds that all processes of a server that run have run, PostgreSQL's and nginx's too."""
    return sum(processor_seconds(pid) for pid in (supervisor, *descendants(supervisor)))


def add_settle(parser: argparse.ArgumentParser, seconds: float) -> None:
    """The option that says how long a server is left alone before it is looked at."""
    parser.add_argument(
        "--settle",
        type=float,
        default=seconds,
        help=f"seconds to wait when all processes are ready ({seconds:g})",
    )
