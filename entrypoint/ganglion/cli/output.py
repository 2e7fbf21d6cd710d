"""The topology as a person reads it, and as a program does."""

import json
from collections.abc import Sequence
from typing import Any

from ganglion.routing.table import Choice
from ganglion.topology.topology import Process, Topology


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


def routes(choices: Sequence[Choice]) -> str:
    """Every row of the table of routes with what it comes to in a topology."""
    rows = [
        (
            choice.route.name,
            choice.pool.name,
            ", ".join(member.name for member in choice.pool.members),
            choice.route.key.value,
            "-" if choice.fallback is None else choice.fallback.name,
            choice.route.pattern,
        )
        for choice in choices
    ]
    return columns(("ROUTE", "POOL", "WORKERS", "KEY", "FALLBACK", "PATTERN"), rows)


def routes_as_json(choices: Sequence[Choice]) -> str:
    """The same for a program: a list of objects, in the order in which they are tried."""
    return json.dumps(
        [
            {
                "route": choice.route.name,
                "pattern": choice.route.pattern,
                "roles": list(choice.route.roles),
                "pool": choice.pool.name,
                "workers": [member.name for member in choice.pool.members],
                "key": choice.route.key.value,
                "fallback": None if choice.fallback is None else choice.fallback.name,
            }
            for choice in choices
        ],
        indent=2,
    )
