"""Measure how long each stage of a start takes, and report it in one line."""

import os
import time
from collections.abc import Callable
from pathlib import Path


class Timeline:
    """Notes the first end of each stage, in seconds since this process began.

    `clock` is a monotonic clock in seconds; `began` is a time on it, by default the start of this
    process.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, began: float | None = None
    ) -> None:
        self._clock = clock
        self._began = process_start() if began is None else began
        self._ends: dict[str, float] = {}

    def mark(self, stage: str) -> None:
        """Note the end of a stage. Ignored if the stage has ended before, as after a restart."""
        self._ends.setdefault(stage, self._clock() - self._began)

    @property
    def ends(self) -> dict[str, float]:
        """The end of each stage so far."""
        return dict(self._ends)

    def line(self) -> str:
        """Return the stages in the order of their ends, with their times and the total.

        A stage's time begins at the end of the stage before it. Of two stages that run in parallel,
        the later one shows only the time that it took longer.
        """
        before, parts = 0.0, []
        for stage, end in self._ends.items():
            parts.append(f"{stage} {end - before:.2f}")
            before = end
        return f"everything runs after {before:.2f} s: {', '.join(parts)}"


def process_start() -> float:
    """Return the start of this process on time.monotonic(): proc_pid_stat(5), field 22."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
