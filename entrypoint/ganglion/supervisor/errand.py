"""Work that is done now and then, each time by a process of its own. Between them there is none.

A process that sleeps in between would cost 20 MB: what it shares with the supervisor changes there.
The process tells lines as a helper does, and `pause SECONDS`: how long until the next one.
"""

import contextlib
import os
import signal
import time
from collections.abc import Callable

from ganglion.supervisor.helper import Helper, Work

PAUSE = "pause "


class Errand(Helper):
    """A helper whose process is there only while it works.

    The first begins after `wait` seconds. One that works longer than `longest` seconds is ended.
    `failed` gets the reason if a process ends without a pause; the next begins after `retry`
    seconds then.
    """

    alone = True

    def __init__(
        self,
        name: str,
        work: Work,
        *,
        wait: float,
        longest: float,
        retry: float,
        failed: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.lines: Callable[[str], None] = lambda _: None
        self.ended = True
        self.pid = 0
        self._work = work
        self._received = b""
        self._longest, self._retry, self._failed, self._clock = longest, retry, failed, clock
        self._due = clock() + wait
        self._pause: float | None = None
        self._reason = ""

    def look(self, _warn: Callable[[str], None]) -> None:
        """Begin the work if it is due, or end it if it takes too long. Called each second."""
        now = self._clock()
        if self.ended and now >= self._due:
            self._pause, self._reason, self._received = None, "", b""
            self._start()
            self._due = now + self._longest
        elif not self.ended and now >= self._due and not self._reason:
            self._reason = f"it took more than {self._longest:.0f} s and was ended"
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def handle_read_event(self) -> None:
        """Pass on lines but the pause. At the end, note when the next is due."""
        super().handle_read_event()
        if not self.ended:
            return
        os.close(self._pipe)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self.pid = 0
        if self._pause is None:
            reason = self._reason or "its process ended without a result"
            self.lines(f"log the work of the {self.name} failed: {reason}")
            self._failed(reason)
        self._due = self._clock() + (self._retry if self._pause is None else self._pause)

    def heed(self, line: str) -> None:
        """Keep the pause to this object, and pass on any other line."""
        if line.startswith(PAUSE):
            self._pause = float(line.removeprefix(PAUSE))
        else:
            self.lines(line)

    def close(self) -> None:
        """End the process, if there is one."""
        if not self.ended:
            self.ended = True
            super().close()
