"""Count nginx's requests by route and worker, from a file to which nginx adds a line for each.

nginx writes its lines in blocks, and counting a block takes 0.2 microseconds a line. The file is
emptied when it has grown, also while nobody asks.
"""

import os
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ganglion.topology.topology import Topology

# In bytes: a larger file is emptied, and so many are read at once.
MOST, PIECE = 4 * 1024**2, 256 * 1024
# In seconds, the upper limits of a histogram; a long poll takes 30 and more.
LIMITS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Combinations of route, worker and status.
MOST_KEYS = 10_000
# Texts of addresses whose process is remembered. A request that was tried twice has two.
MOST_ADDRESSES = 1000
# The worker of a request that nginx answered itself, and of one in another container.
NONE, ELSEWHERE = "none", "elsewhere"


@dataclass(slots=True)
class Times:
    """A histogram: the number of requests up to each of LIMITS and above, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(LIMITS) + 1))
    total: float = 0.0

    def add(self, seconds: float, number: int) -> None:
        self.counts[bisect_left(LIMITS, seconds)] += number
        self.total += seconds * number

    def copy(self) -> "Times":
        return Times(counts=list(self.counts), total=self.total)


class RequestLog:
    """The counts so far. Several threads may use it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._file = -1
        self._offset = 0
        self._rest = b""
        self._process_of: dict[str, str] = {}
        self._topology: Topology | None = None
        self._requests: Counter[tuple[str, str, str]] = Counter()
        self._times: dict[tuple[str, str], Times] = {}

    def collect(self, topology: Topology) -> None:
        """Count the lines since the last time."""
        with self._lock:
            if self._topology is not topology:
                self._topology = topology
                self._process_of = {str(item.http): item.name for item in topology.processes}
            try:
                self._collect()
            except OSError:
                # There is no nginx here, or its disk fails. The counts stay.
                self._close()

    def relieve(self, topology: Topology) -> None:
        """Count the lines if there are many, so that the file stays small while nobody asks."""
        try:
            many = Path(self._path).stat().st_size > PIECE
        except OSError:
            return
        if many:
            self.collect(topology)

    def requests(self) -> Mapping[tuple[str, str, str], int]:
        """Return the number of requests by route, worker and status."""
        with self._lock:
            return dict(self._requests)

    def times(self) -> Mapping[tuple[str, str], Times]:
        """Return the times of requests by route and worker."""
        with self._lock:
            return {key: times.copy() for key, times in self._times.items()}

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _collect(self) -> None:
        if self._file < 0:
            self._file = os.open(self._path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._offset, self._rest = 0, b""
        if os.fstat(self._file).st_size < self._offset:
            # Somebody else has emptied it.
            self._offset, self._rest = 0, b""
        while text := os.pread(self._file, PIECE, self._offset):
            self._offset += len(text)
            whole, end, self._rest = (self._rest + text).rpartition(b"\n")
            if end:
                self._count(whole)
        if self._offset > MOST:
            # nginx appends, so it goes on at the start. A block that it wrote since the last read,
            # some microseconds ago, would be lost.
            os.ftruncate(self._file, 0)
            self._offset = 0

    def _count(self, text: bytes) -> None:
        for line, number in Counter(text.split(b"\n")).items():
            try:
                route, status, seconds, address = line.decode("ascii").split(" ", 3)
                taken = float(seconds)
            except ValueError:
                # A line that a full disk has cut.
                continue
            worker = self._worker(address)
            key = route, worker, status
            if key in self._requests or len(self._requests) < MOST_KEYS:
                self._requests[key] += number
                self._times.setdefault((route, worker), Times()).add(taken, number)

    def _worker(self, text: str) -> str:
        """Return the process at the last of the addresses that nginx tried."""
        found = self._process_of.get(text)
        if found is None:
            last = text.replace(",", " ").split(" ")[-1]
            other = ELSEWHERE if ":" in last else NONE
            found = self._process_of.get(last, other)
            if len(self._process_of) < MOST_ADDRESSES:
                self._process_of[text] = found
        return found
