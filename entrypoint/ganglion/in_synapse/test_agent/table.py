"""A table in shared memory: how far each process has written its streams and seen those of others.

Each process writes its own cells and reads those of all. A cell is one aligned 64-bit integer, so a
reader finds the old or the new value. Nothing is sent: a message to each of 16 processes and back
would cost more than the rest of the request.
"""

import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

CELL = 8
# The states in /proc/PID/stat of processes that see nothing: stopped, traced, dead.
NOT_RUNNING = frozenset("TtZXx")


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """A process that has not seen a position yet."""

    reader: str
    stream: str
    writer: str
    position: int

    def __str__(self) -> str:
        return f"{self.reader} has not seen {self.stream} of {self.writer} up to {self.position}"


class Table:
    """The table as one process uses it.

    All processes must give the same `processes` and `streams`. A new table is all zeros.
    """

    def __init__(
        self, path: Path, processes: Sequence[str], streams: Sequence[str], own: str
    ) -> None:
        self._processes, self._streams = tuple(processes), tuple(streams)
        self._rows = {name: row for row, name in enumerate(self._processes)}
        self._stream_rows = {name: row for row, name in enumerate(self._streams)}
        self._own = self._rows[own]
        self._width = len(self._processes)
        pairs = len(self._streams) * self._width
        cells = self._width + pairs + pairs * self._width
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, cells * CELL)
            memory = memoryview(mmap.mmap(descriptor, cells * CELL)).cast("q")
        finally:
            os.close(descriptor)
        self._pids = memory[: self._width]
        # By stream, then writer.
        self._written = memory[self._width : self._width + pairs]
        # By stream, then writer, then reader.
        self._seen = memory[self._width + pairs :]
        # The positions that every process is known to have seen.
        self._confirmed = [0] * pairs
        # No other process waits for this one while it starts.
        self._pids[self._own] = 0
        for stream in self._streams:
            self._written[self._pair(stream, own)] = 0

    def open(self) -> None:
        """Let other processes wait for this one, whose positions are all in the table now."""
        self._pids[self._own] = os.getpid()

    def wrote(self, positions: Mapping[str, int]) -> None:
        """Publish how far this process has written each stream."""
        for stream, position in positions.items():
            self._written[self._stream_rows[stream] * self._width + self._own] = position

    def saw(self, stream: str, writer: str, position: int) -> None:
        """Publish how far this process has seen a stream of a writer."""
        if writer in self._rows:
            self._seen[self._pair(stream, writer) * self._width + self._own] = position

    def unconfirmed(self, *, seen: bool) -> dict[int, int]:
        """Return the positions that some process may not have seen yet.

        They are those that processes have published as written and, with `seen`, also those that
        this process has seen. The keys are for `behind`.
        """
        targets = self._written.tolist()
        if seen:
            targets = list(map(max, targets, self._seen[self._own :: self._width].tolist()))
        if targets == self._confirmed:
            return {}
        return {
            pair: target
            for pair, (target, confirmed) in enumerate(zip(targets, self._confirmed, strict=True))
            if target != confirmed
        }

    def behind(self, targets: dict[int, int], *, running: bool = False) -> list[Lag]:
        """Remove the positions that every process has seen, and return the lags of the others.

        With `running`, ignore processes that are dead or stopped.
        """
        found = []
        for pair, target in tuple(targets.items()):
            stream, writer = divmod(pair, self._width)
            seen = self._seen[pair * self._width : (pair + 1) * self._width].tolist()
            late = [
                reader
                for reader, position in enumerate(seen)
                if position < target
                and reader != writer
                and self._pids[reader]
                and (not running or _runs(self._pids[reader]))
            ]
            if not late:
                del targets[pair]
                self._confirmed[pair] = target
            found += [
                Lag(
                    reader=self._processes[reader],
                    stream=self._streams[stream],
                    writer=self._processes[writer],
                    position=target,
                )
                for reader in late
            ]
        return found

    def _pair(self, stream: str, writer: str) -> int:
        return self._stream_rows[stream] * self._width + self._rows[writer]


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    # The name before it is in parentheses and may hold any character.
    return stat.rpartition(")")[2].split()[0] not in NOT_RUNNING
