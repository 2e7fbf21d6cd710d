"""How long each stage of a start took, in one line when the last has ended."""

import os
import time
from pathlib import Path


class Timeline:
    """Notes when each stage ended for the first time, in seconds since our process began."""

    def __init__(self) -> None:
        self._began = process_start()
        self._ends: dict[str, float] = {}

    def mark(self, stage: str) -> None:
        """Note the end of a stage; a later one of the same name, after a restart, is no news."""
        self._ends.setdefault(stage, time.monotonic() - self._began)

    def line(self) -> str:
        """What is noted, in the order in which it ended, and the total.

        With each is the time since what ended before it. Of two that run side by side, the later
        one has what it took longer.
        """
        before, parts = 0.0, []
        for stage, end in self._ends.items():
            parts.append(f"{stage} {end - before:.2f}")
            before = end
        return f"everything runs after {before:.2f} s: {', '.join(parts)}"


def process_start() -> float:
    """When this process began, on the clock of time.monotonic(). proc_pid_stat(5), field 22."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")
