"""The log of the control application: its level, which may change, and the server's health in it.

gunicorn sets its log up, and reads files anew on SIGUSR1 in both of its processes.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gunicorn.config import Config
from gunicorn.glogging import Logger

from ganglion.control.verdict import NOT_YET, Verdict, Word

# The name of gunicorn's own log, whose lines the supervisor reads: logs/record.py.
LOG = logging.getLogger("gunicorn.error")


def logger_class(path: str) -> type[Logger]:
    """Return a class of logs whose level is that in a file: `level: WARNING`."""

    class Log(Logger):
        def setup(self, cfg: Config) -> None:
            super().setup(cfg)
            self._take_level()

        def reopen_files(self) -> None:
            super().reopen_files()
            self._take_level()

        def access(self, resp: Any, _req: Any, environ: Any, request_time: Any) -> None:  # noqa: ANN401
            """Log a request, without its query. Called after each."""
            self.error_log.debug(
                "%s %s %s in %.3f s",
                environ["REQUEST_METHOD"],
                environ["PATH_INFO"],
                resp.status,
                request_time.total_seconds(),
            )

        def _take_level(self) -> None:
            try:
                word = Path(path).read_text(encoding="utf-8").partition(": ")[2].strip()
                self.error_log.setLevel(word)
            except (OSError, ValueError) as error:
                self.error_log.warning("the level stays as it is: %s", error)

    return Log


class Spoken:
    """Logs a server's health when it changes: another word, or other parts with a problem.

    Without that, the log has no line of a part that hangs, as PostgreSQL or a disk.
    """

    def __init__(
        self,
        say: Callable[[int, str], None] = LOG.log,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._say = say
        self._clock = clock
        self._lock = threading.Lock()
        self._before: tuple[Word, frozenset[str]] | None = None
        # When the server was ready last, as far as anyone asked.
        self._ready: float | None = None

    def hear(self, verdict: Verdict) -> None:
        """Log a verdict, unless it is like the one before or there is none yet."""
        if verdict.word is Word.STARTING or NOT_YET in verdict.problems.values():
            return
        found = verdict.word, frozenset(verdict.problems)
        with self._lock:
            before, self._before = self._before, found
            now = self._clock()
            ready, well = self._ready, verdict.word is Word.READY
            if well:
                self._ready = now
            if found == before or (well and before is None):
                return
            if well:
                past = "" if ready is None else f", after {now - ready:.0f} s"
                self._say(logging.WARNING, f"health is ready again{past}: all parts work")
                return
            level = logging.ERROR if verdict.word is Word.FAILING else logging.WARNING
            self._say(level, f"health is {verdict.sentence()}")
