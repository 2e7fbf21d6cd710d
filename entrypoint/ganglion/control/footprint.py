"""Memory, processor time and open files of a program, from what /proc shows to every account."""

import os
from dataclasses import dataclass
from pathlib import Path

from ganglion.control.usage import PROC, STIME, UTIME

PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """A program and all processes below it, `processes` in all.

    `resident` and `shared` are in bytes, `processor` in seconds. `resident` counts a page that
    several processes share once for each of them; `shared` is the part of it that files and shared
    memory have. `own` counts that part once, by the process that has most of it.
    """

    processes: int
    resident: int
    shared: int
    own: int
    processor: float


def footprint(pid: int, proc: Path = PROC) -> Footprint | None:
    """Add up a process and all below it. None if it has ended."""
    processes = resident = shared = largest = ticks = 0
    pids = [pid]
    while pids:
        directory = proc / str(pids.pop())
        try:
            fields = (directory / "stat").read_text(encoding="utf-8", errors="replace")
            _, rss, files, *_ = (directory / "statm").read_text().split()
            children = (directory / "task" / directory.name / "children").read_text()
        except (OSError, ValueError):
            # It has ended meanwhile.
            continue
        numbers = fields.rpartition(")")[2].split()
        ticks += int(numbers[UTIME]) + int(numbers[STIME])
        resident += int(rss) * PAGE
        shared += int(files) * PAGE
        largest = max(largest, int(files) * PAGE)
        processes += 1
        pids += [int(child) for child in children.split()]
    if not processes:
        return None
    return Footprint(
        processes=processes,
        resident=resident,
        shared=shared,
        own=resident - shared + largest,
        processor=ticks / TICKS,
    )
