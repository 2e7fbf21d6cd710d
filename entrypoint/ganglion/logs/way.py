"""The way of one request through the processes."""

import re
from collections.abc import Iterable

from ganglion.logs.record import Record

# Synapse and nginx log a request when it has been answered, with the time that it took.
_TOOK = re.compile(r' Processed request: (\d+\.\d+)sec|" \d{3} \d+ (\d+\.\d{3}) ')


def way(records: Iterable[tuple[str, Record]]) -> str:
    """Return the processes in the order in which the request reached them, with the time in each.

    `records` are those of one request, each with its process.
    """
    began: dict[str, float] = {}
    took: dict[str, float] = {}
    for process, record in records:
        found = _TOOK.search(record.message)
        seconds = float(found[1] or found[2]) if found else 0.0
        began[process] = min(began.get(process, record.time), record.time - seconds)
        took[process] = max(took.get(process, 0.0), seconds)
    names = sorted(began, key=lambda name: began[name])
    return " → ".join(f"{name} ({took[name]:.3f} s)" if took[name] else name for name in names)
