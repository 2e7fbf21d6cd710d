"""The topology as a person reads it, and as a program does."""

import json
from collections.abc import Sequence
from typing import Any

from ganglion.topology import Process, Topology


def columns(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of text whose columns are as wide as their widest cell."""
    table = [titles, *rows]
    widths = [max(len(row[index]) for row in table) for index in range(len(titles))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in table
    )
    return "\n".join(line.rstrip() for line in lines)


def table(topology: Topology) -> str:
    """Every process with its roles, address, streams and jobs."""
    rows = [
        (
            process.name,
            ", ".join(process.roles) or "-",
            str(process.http),
            ", ".join(_streams(topology, process)) or "-",
            ", ".join(_jobs(topology, process)) or "-",
        )
        for process in topology.processes
    ]
    return columns(("PROCESS", "ROLES", "ADDRESS", "WRITES", "JOBS"), rows)


def as_json(topology: Topology) -> str:
    """The same for a program: a list of objects."""
    processes: list[dict[str, Any]] = [
        {
            "name": process.name,
            "roles": list(process.roles),
            "address": str(process.http),
            "streams": _streams(topology, process),
            "jobs": _jobs(topology, process),
        }
        for process in topology.processes
    ]
    return json.dumps({"processes": processes, "notes": list(topology.notes)}, indent=2)


def _streams(topology: Topology, process: Process) -> list[str]:
    return [stream for stream, names in topology.stream_writers.items() if process.name in names]


def _jobs(topology: Topology, process: Process) -> list[str]:
    return [job for job, names in topology.jobs.items() if process.name in names]
