"""Servers whose memory, processes and output `scripts/bench faults` can make scarce.

Memory and processes are limited by cgroups(7) of either version. That needs root.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.harness import Server, wait_until

GROUPS = Path("/sys/fs/cgroup")
GROUP = "ganglion-faults"
MB = 1024**2
# In bytes: what a server may take more than it has when its memory gets short.
MARGIN = 8 * MB
# In bytes, at once.
READ = 64 * 1024
# In seconds: how long the kernel may take to kill.
KILLED_WITHIN = 60.0
# A process that takes 20 MB of memory a second, and that the kernel never kills.
TAKES_MEMORY = """
import sys, time
open(sys.argv[1], "w").write("0")
open("/proc/self/oom_score_adj", "w").write("-1000")
taken = []
while True:
    taken.append(bytearray(2 * 1024**2))
    time.sleep(0.1)
"""


@dataclass(frozen=True, slots=True)
class Group:
    """One control group of this module's: files of its limit, its use and its events."""

    path: Path
    limit: str
    use: str
    events: str = ""
    unlimited: str = "max"

    @classmethod
    def of_memory(cls) -> "Group":
        if (GROUPS / "memory").is_dir():
            path = GROUPS / "memory" / GROUP
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.oom_control")
            return cls(path, *names, unlimited="-1")
        return cls(GROUPS / GROUP, "memory.max", "memory.current", "memory.events")

    @classmethod
    def of_processes(cls) -> "Group":
        first = GROUPS / "pids" if (GROUPS / "pids").is_dir() else GROUPS
        return cls(first / GROUP, "pids.max", "pids.current")

    @property
    def used(self) -> int:
        """How many bytes or processes it has."""
        return int((self.path / self.use).read_text())

    @property
    def killed(self) -> int:
        """How many of its processes the kernel has killed for lack of memory."""
        lines = (self.path / self.events).read_text().splitlines()
        return int(dict(line.split() for line in lines)["oom_kill"])

    def allow(self, number: int | None) -> None:
        """Limit it; None for no limit."""
        text = self.unlimited if number is None else f"{number}"
        (self.path / self.limit).write_text(text)


class Scarce(Server):
    """A server in control groups of its own. A thread reads its output and writes the log."""

    def __init__(self, workers: str) -> None:
        super().__init__(workers)
        self.memory, self.processes = Group.of_memory(), Group.of_processes()
        self.is_read = threading.Event()
        self.is_read.set()

    @property
    def _groups(self) -> set[Path]:
        return {self.memory.path, self.processes.path}

    def launch(self) -> None:
        """Start the server in its groups, without this process."""
        reader, self.output = os.pipe()
        for path in self._groups:
            path.mkdir(exist_ok=True)
            (path / "cgroup.procs").write_text("0")
        try:
            super().launch()
        finally:
            os.close(self.output)
            for path in self._groups:
                (path.parent / "cgroup.procs").write_text("0")
        threading.Thread(target=self._copy, args=[reader]).start()

    def _copy(self, reader: int) -> None:
        with os.fdopen(reader, "rb", buffering=0) as output, self.log.path.open("ab") as log:
            while piece := output.read(READ):
                self.is_read.wait()
                log.write(piece)
                log.flush()

    def remove_groups(self) -> None:
        """Remove the groups of a server that has ended."""
        wait_until("end of the server's processes", lambda: all(map(_removed, self._groups)))


def _removed(path: Path) -> bool:
    with contextlib.suppress(OSError):
        path.rmdir()
    return not path.exists()


def short_of_memory(kills: int) -> Callable[[Scarce], None]:
    """Take the memory that the server has left, until the kernel has killed so many processes."""

    def starve(server: Scarce) -> None:
        group = server.memory
        before = group.killed
        group.allow(group.used + MARGIN)
        command = [sys.executable, "-c", TAKES_MEMORY, str(group.path / "cgroup.procs")]
        with subprocess.Popen(command) as taker:
            try:
                wait_until("kills", lambda: group.killed >= before + kills, within=KILLED_WITHIN)
            finally:
                taker.kill()
                group.allow(None)

    return starve


def short_of_processes(seconds: float, killing: str) -> Callable[[Scarce], None]:
    """Let the server make no further process or thread for a while, and kill a program."""

    def starve(server: Scarce) -> None:
        group = server.processes
        pid = server.pid(killing)
        end = time.monotonic() + seconds
        group.allow(group.used)
        try:
            os.kill(pid, signal.SIGKILL)
            while time.monotonic() < end:
                time.sleep(0.02)
                # The threads of the killed one have left places.
                group.allow(group.used)
        finally:
            group.allow(None)

    return starve


def unread(seconds: float) -> Callable[[Scarce], None]:
    """Read no output for a while, as a log driver that hangs."""

    def pause(server: Scarce) -> None:
        server.is_read.clear()
        time.sleep(seconds)
        server.is_read.set()

    return pause


@contextlib.contextmanager
def scarce(workers: str) -> Iterator[tuple[Scarce, Scarce]]:
    """Return a server, and the target of its faults."""
    server = Scarce(workers)
    try:
        with server:
            yield server, server
    finally:
        server.remove_groups()
