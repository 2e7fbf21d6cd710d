"""The handler of a Synapse process's own log file: bounded, and no fault of a disk stops it."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path

# In seconds: how often the file is looked for, and how often a fault is reported.
LOOK, REPORT = 1.0, 60.0


class RotatingFile(RotatingFileHandler):
    """Rotates by size. A file that was removed is made again; lines are lost while it fails.

    `clock` gives monotonic seconds.
    """

    def __init__(
        self, filename: str, most: int, kept: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._looked = clock()
        self._reported: float | None = None
        self._lost = 0
        # The file is opened with its first line, so that one that cannot be opened stops no start.
        super().__init__(filename, maxBytes=most, backupCount=kept, encoding="utf8", delay=True)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, to another file if the one before is gone."""
        now = self._clock()
        if now - self._looked >= LOOK:
            self._looked = now
            self._look()
        super().emit(record)

    def _look(self) -> None:
        """Close a file that is not the one of this name any more."""
        if self.stream is None:
            return
        try:
            same = os.path.samestat(Path(self.baseFilename).stat(), os.fstat(self.stream.fileno()))
        except OSError:
            same = False
        if not same:
            stream, self.stream = self.stream, None
            # Its last lines may not fit on the disk.
            with contextlib.suppress(OSError):
                stream.close()

    def handleError(self, record: logging.LogRecord) -> None:
        """Count a line that could not be written, and report that once a minute."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._lost += 1
        # The lines in its buffer are lost, too: it would fail again with each further line.
        stream, self.stream = self.stream, None
        with contextlib.suppress(OSError):
            if stream is not None:
                stream.close()
        moment = self._clock()
        if self._reported is None or moment - self._reported >= REPORT:
            self._reported = moment
            lost, self._lost = self._lost, 0
            # Not by a logger, which Twisted makes of sys.stderr: it would come back here.
            if sys.__stderr__ is not None:
                text = f"cannot write to {self.baseFilename}: {error.strerror}; lines lost: {lost}"
                # As Synapse's other lines, so that it has a level.
                now = time.strftime("%Y-%m-%d %H:%M:%S,000")
                sys.__stderr__.write(f"{now} - ganglion - 0 - ERROR - sentinel - {text}\n")
