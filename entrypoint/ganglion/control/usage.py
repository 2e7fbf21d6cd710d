"""Memory and processor time of a program and all processes below it, from /proc."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
PSS = re.compile(r"^Pss: +(\d+) kB", re.MULTILINE)
# Fields 14 and 15 of /proc/PID/stat, counted behind the name in brackets: proc(5).
UTIME, STIME = 11, 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """`memory` in bytes, each shared page divided among its processes; `processor` in seconds.

    `memory` is None if this account may not read it.
    """

    memory: int | None
    processor: float


def usage(pid: int, proc: Path = PROC) -> Usage | None:
    """Add up a process and all below it. None if it has ended."""
    memory: int | None = 0
    ticks, seen = 0, 0
    pids = [pid]
    while pids:
        directory = proc / str(pids.pop())
        try:
            fields = (directory / "stat").read_text(encoding="utf-8", errors="replace")
            children = (directory / "task" / directory.name / "children").read_text()
        except OSError:
            # It has ended meanwhile.
            continue
        numbers = fields.rpartition(")")[2].split()
        ticks += int(numbers[UTIME]) + int(numbers[STIME])
        memory = _add(memory, directory)
        pids += [int(child) for child in children.split()]
        seen += 1
    if not seen:
        return None
    return Usage(memory=memory, processor=ticks / os.sysconf("SC_CLK_TCK"))


def _add(memory: int | None, directory: Path) -> int | None:
    try:
        text = (directory / "smaps_rollup").read_text(encoding="utf-8")
    except PermissionError:
        return None
    except OSError:
        return memory
    found = PSS.search(text)
    return None if memory is None else memory + (int(found[1]) * 1024 if found else 0)
