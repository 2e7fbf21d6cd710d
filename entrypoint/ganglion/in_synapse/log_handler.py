"""The handler of Synapse's log: writes lines to stderr in batches."""

import logging
import sys
import threading
import time
from collections.abc import Callable

# In seconds: how long a line may wait for others.
DELAY = 0.1
# In characters: a longer batch is written at once. A pipe takes 64 KiB at once.
FULL = 32 * 1024


class GatheringHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes lines to stderr after DELAY, or at once after a warning or an error.

    Each write wakes the supervisor, which adds the prefix with the process's name. One write for
    every line took a fifth of the processor time of cheap requests, Synapse's and the supervisor's
    together. A process that is killed loses at most the lines of its last DELAY.

    `sleep` waits for a number of seconds.
    """

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        # Not sys.stderr: Twisted makes that a logger, which a handler made by a reload would call.
        super().__init__(sys.__stderr__)
        self._sleep = sleep
        self._ended = False
        self._lines: list[str] = []
        self._size = 0
        self._something = threading.Event()
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, or write it with all lines kept so far. The caller holds the lock."""
        try:
            line = self.format(record) + self.terminator
        except Exception:  # noqa: BLE001 - a wrong call of the logger must not end its caller
            self.handleError(record)
            return
        self._lines.append(line)
        self._size += len(line)
        if record.levelno >= logging.WARNING or self._size >= FULL or self._ended:
            self.flush()
        elif not self._something.is_set():
            self._something.set()
            if self._writer is None:
                # Started with the first line, because no thread may run when a process is forked.
                self._writer = threading.Thread(target=self._write_later, daemon=True, name="log")
                self._writer.start()

    def flush(self) -> None:
        """Write all lines kept so far."""
        self.acquire()
        try:
            lines, self._lines, self._size = self._lines, [], 0
            if lines:
                self.stream.write("".join(lines))
                super().flush()
        except BrokenPipeError:
            # The supervisor is gone, and nothing else reads this pipe.
            pass
        finally:
            self.release()

    def close(self) -> None:
        """Write the last lines and end the thread: a reload makes another handler."""
        self.flush()
        self._ended = True
        self._something.set()
        super().close()

    def _write_later(self) -> None:
        while not self._ended:
            self._something.wait()
            if self._ended:
                # Whatever comes after close() is written at once.
                return
            self._sleep(DELAY)
            self._something.clear()
            self.flush()
