"""The last lines of all programs, in memory: for `ganglion logs`.

Nothing is written to a disk, so no full disk, removed file or slow reader concerns it.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

# In bytes: what a batch takes beside its lines.
BESIDE = 200


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that one program printed together. `at` is in seconds since 1970.

    `lines` are UTF-8, each with its line break.
    """

    at: float
    process: str
    kind: str
    lines: bytes

    def encoded(self) -> bytes:
        """Return one line for each line: time, process, kind and the line, with tabs between."""
        head = f"{self.at:.3f}\t{self.process}\t{self.kind}\t".encode()
        return b"".join(head + line + b"\n" for line in self.lines.split(b"\n")[:-1])


class History:
    """Keeps batches of up to `most` bytes in all; the oldest go first.

    `clock` gives the seconds since 1970.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.time) -> None:
        self._most = most
        self.clock = clock
        self._batches: deque[Batch] = deque()
        self.size = 0
        # Each is called with every batch.
        self.followers: list[Callable[[Batch], None]] = []

    def add(self, process: str, kind: str, lines: bytes) -> None:
        """Keep lines, and pass them on to the followers."""
        if not self._most and not self.followers:
            return
        batch = Batch(self.clock(), process, kind, lines)
        for follower in list(self.followers):
            follower(batch)
        self._batches.append(batch)
        self.size += len(lines) + BESIDE
        while self.size > self._most:
            gone = self._batches.popleft()
            self.size -= len(gone.lines) + BESIDE

    def batches(self) -> Iterator[Batch]:
        """Return those that are kept now, oldest first. Later ones are not among them."""
        return iter(tuple(self._batches))
