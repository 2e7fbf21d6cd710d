"""Processes of PostgreSQL that a killed process of Ganglion has left. The data directory is locked.

pg_upgrade starts programs, and servers as daemons, which outlive it. The directory in which they
work is how they are found: a server has no file with its number yet in its first moments.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ganglion.machine.acting import acting_as

# In seconds: for all of them to end after a signal, and between two looks.
ENDS_WITHIN, AGAIN = 60.0, 0.1


class Stays(Exception):
    """Such processes do not end. The text says which."""


def end_programs(directory: Path, account: str | None) -> None:
    """Kill the programs of `account` that work in a directory, and wait for their end.

    Raises Stays.
    """
    _end(lambda: _inside(directory, account), signal.SIGKILL)


def end_server(cluster: Path, account: str | None) -> None:
    """End the server of a cluster, and wait for the end of all its processes. Raises Stays."""

    def servers() -> dict[int, int]:
        found = _inside(cluster, account)
        # The others are its sessions and helpers. They end with it, and after it.
        first = {pid: parent for pid, parent in found.items() if parent not in found}
        return first or found

    try:
        # A fast shutdown, then an immediate one: the next start recovers.
        _end(servers, signal.SIGINT)
    except Stays:
        _end(servers, signal.SIGQUIT)


def forget_server(cluster: Path, account: str | None) -> None:
    """Remove the file with the number of a cluster's server, unless a process works there.

    After a kill or a power cut, that may be the number of another process of this account:
    PostgreSQL would take it for its own, and not start.
    """
    if not _inside(cluster, account):
        (cluster / "postmaster.pid").unlink(missing_ok=True)


def _end(found: Callable[[], dict[int, int]], number: signal.Signals) -> None:
    deadline = time.monotonic() + ENDS_WITHIN
    told: set[int] = set()
    while left := found():
        if time.monotonic() > deadline:
            raise Stays(f"processes of PostgreSQL do not end: {', '.join(map(str, left))}")
        # Once each: a second signal could cut a shutdown off.
        for pid in left.keys() - told:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        told |= left.keys()
        time.sleep(AGAIN)


def _inside(directory: Path, account: str | None) -> dict[int, int]:
    """Return the parent of each process that works in a directory."""
    where = directory.resolve()
    # Root alone may not look at the directory of others' processes in a container.
    with acting_as(account):
        return dict(_working(where))


def _working(where: Path) -> Iterator[tuple[int, int]]:
    for entry in Path("/proc").iterdir():
        # It has ended, or is another account's.
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "cwd").readlink() == where:
                after_name = (entry / "stat").read_text(errors="replace").rpartition(")")[2]
                yield int(entry.name), int(after_name.split()[1])
