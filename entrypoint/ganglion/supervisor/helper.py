"""A forked process for work that may block, such as on a disk or a database.

It tells the supervisor in lines: `reload NAME TEXT`, `log TEXT` for an error, `info TEXT` or
`stop TEXT`.
"""

import contextlib
import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

from ganglion.machine import clean_fork
from ganglion.machine.parent_death import end_with_parent
from ganglion.supervisor.dispatcher import Reader
from ganglion.supervisor.listening_sockets import close_all

# Standard input, output and error are the numbers up to this one.
STANDARD = 2

Tell = Callable[[str], None]
Work = Callable[[Tell], None]


class Helper(Reader):
    """One helper process and the pipe with its lines.

    `work` runs in it until the supervisor ends. If it ends sooner, the owner starts another one:
    restart().
    """

    # Whether its process lets go of the supervisor's descriptors.
    alone = False

    def __init__(self, name: str, work: Work) -> None:
        self.name = name
        self.lines: Callable[[str], None] = lambda _: None
        self.ended = False
        self._work = work
        self._received = b""
        self._start()

    def _start(self) -> None:
        pipe, writer = os.pipe()
        parent = os.getpid()
        try:
            pid = clean_fork.fork()
        except OSError:
            os.close(pipe)
            os.close(writer)
            raise
        if pid == 0:
            _run(self._work, writer, parent, alone=self.alone)
        os.close(writer)
        self.pid, self._pipe, self.ended = pid, pipe, False

    def look(self, warn: Callable[[str], None]) -> None:
        """Start another process if this one has ended. Called each second."""
        if self.ended:
            warn(f"the process of the {self.name} has ended; another one is started")
            self.restart()

    def restart(self) -> None:
        """Start another process after one that has ended. Raises OSError if there can be none."""
        before = self._pipe
        self._start()
        os.close(before)

    def first_line(self) -> str:
        """Wait for the first line. Empty if the process has ended without one."""
        line = b""
        # Byte by byte: the event loop would not wake up for lines that were read already.
        while not line.endswith(b"\n"):
            data = os.read(self._pipe, 1)
            if not data:
                return ""
            line += data
        return line.decode().rstrip("\n")

    def fileno(self) -> int:
        return self._pipe

    def readable(self) -> bool:
        return not self.ended

    def handle_read_event(self) -> None:
        """Pass on each whole line."""
        data = os.read(self._pipe, 65536)
        self.ended = not data
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self.heed(line.decode())

    def heed(self, line: str) -> None:
        """Pass on one line."""
        self.lines(line)

    def close(self) -> None:
        """End the process and wait for that."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        os.close(self._pipe)


def _run(work: Work, writer: int, parent: int, *, alone: bool) -> None:
    """Work in the child. Its end is that of the process: the parent's frames are above."""
    try:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
            # A terminal sends these to the whole group; the supervisor ends this process.
            signal.signal(number, signal.SIG_IGN)
        end_with_parent(parent, signal.SIGKILL)
        close_all()
        if alone:
            _let_go(writer)

        def tell(line: str) -> None:
            os.write(writer, " ".join(line.split()).encode() + b"\n")

        work(tell)
    except BaseException:  # noqa: BLE001 - nothing may reach the parent's frames
        traceback.print_exc()
    finally:
        os._exit(1)


def _let_go(kept: int) -> None:
    """Replace the supervisor's descriptors but `kept`: a client waits for the end of its own.

    They are not closed: an object that still has one would close another file of that number later.
    """
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for entry in list(Path("/proc/self/fd").iterdir()):
        number = int(entry.name)
        if number > STANDARD and number not in (kept, nothing):
            os.dup2(nothing, number, inheritable=False)
