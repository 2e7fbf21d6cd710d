"""The order in which the kernel kills processes when memory is short: proc(5), oom_score_adj.

The kernel kills the process that takes the most memory, and counts pages that processes share for
each of them. So the largest is often main or a session of PostgreSQL, and the death of either stops
everything for a moment. The death of a worker stops nothing: others answer until it is back.
"""

import contextlib
from pathlib import Path

OWN = Path("/proc/self/oom_score_adj")
MOST = 1000


def add(points: int) -> None:
    """Have the kernel kill this process and its future children earlier.

    `points` are thousandths of all memory, by which the process looks larger than it is. The
    container's own value is kept, as that of Kubernetes. Where the kernel does not allow a change,
    nothing happens.
    """
    if points:
        with contextlib.suppress(OSError, ValueError):
            OWN.write_text(f"{min(MOST, int(OWN.read_text()) + points)}", encoding="ascii")
