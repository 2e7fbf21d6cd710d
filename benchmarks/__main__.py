"""Run a benchmark by its name: `python -m benchmarks NAME [OPTION...]`."""

import importlib
import sys

NAMES = (
    "reset",
    "start",
    "memory",
    "load",
    "latency",
    "idle",
    "scale",
    "beyond",
    "bulk",
    "routing",
    "consistency",
    "faults",
    "federation",
    "interrupted",
    "killed",
    "readiness",
    "report",
)

if __name__ == "__main__":
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in NAMES:
        sys.exit(
            f"python -m benchmarks: unknown benchmark {name!r}; write one of {', '.join(NAMES)}"
        )
    sys.exit(importlib.import_module(f"benchmarks.{name}").main(sys.argv[2:]))
