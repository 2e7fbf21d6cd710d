"""Processes of this machine, from /proc."""

import contextlib
from pathlib import Path


def descendants(pid: int) -> dict[int, str]:
    """Return every process below `pid`, with its identity, which no later process has."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := stat_fields(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found: dict[int, str] = {}
    waiting = [pid]
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if name := identity(child):
                found[child] = name
            waiting.append(child)
    return found


def identity(pid: int) -> str:
    """A process's number and start time; empty if it is gone or only a zombie.

    Not its name, which changes when it becomes another program or takes a title.
    """
    fields = stat_fields(pid)
    return "" if not fields or fields[0] == "Z" else f"{pid} started at tick {fields[19]}"


def stat_fields(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on: state, parent, …; none if it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return []
