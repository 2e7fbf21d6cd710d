"""Add this process's memory to its metrics.

The kernel shows the private and shared memory of a process only to the process itself, once it has
given up root's rights. Reading it takes about a millisecond.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.core import REGISTRY, GaugeMetricFamily
from prometheus_client.registry import Collector

ROLLUP = Path("/proc/self/smaps_rollup")
AMOUNT = re.compile(r"^(Pss|(?:Private|Shared)_(?:Clean|Dirty)): +(\d+) kB$", re.MULTILINE)
KINDS = {"Pss": "proportional", "Private": "private", "Shared": "shared"}


def amounts(text: str) -> dict[str, int]:
    """Return the bytes of each kind in the text of smaps_rollup: proc(5)."""
    found: dict[str, int] = {}
    for name, number in AMOUNT.findall(text):
        kind = KINDS[name.partition("_")[0]]
        found[kind] = found.get(kind, 0) + int(number) * 1024
    return found


class Memory(Collector):
    """Reads the memory anew for each scrape."""

    def __init__(self, path: Path = ROLLUP) -> None:
        self._path = path

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the family of gauges; without samples if the kernel does not tell."""
        family = GaugeMetricFamily(
            "ganglion_process_memory_bytes",
            "Memory of this process alone, shared with others, and its share of all.",
            labels=["kind"],
        )
        try:
            found = amounts(self._path.read_text(encoding="ascii"))
        except (OSError, ValueError):
            found = {}
        for kind, number in found.items():
            family.add_metric([kind], number)
        yield family


def prepare() -> None:
    """Add it to the metrics of this process."""
    REGISTRY.register(Memory())
