"""How long each stage of a start took, in one line when the last has begun."""

import os
import time
from pathlib import Path

STAGES = ("boot", "preload", "main", "workers")


class Timeline:
    """Notes when each stage ended for the first time. Times are seconds since our process began."""

    def __init__(self) -> None:
        self._began = process_start()
        self._ends: dict[str, float] = {}

    def mark(self, stage: str) -> None:
        """Note the end of a stage; a later one of the same name, after a restart, is no news."""
        self._ends.setdefault(stage, time.monotonic() - self._began)

    def line(self) -> str:
        """What is noted, each stage's own time, and the total."""
        before, parts = 0.0, []
        for stage in STAGES:
            if stage in self._ends:
                parts.append(f"{stage} {self._ends[stage] - before:.2f}")
                before = self._ends[stage]
        return f"everything runs after {before:.2f} s: {', '.join(parts)}"


def process_start() -> float:
    """When this process began, on the clock of time.monotonic(). proc_pid_stat(5), field 22."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
