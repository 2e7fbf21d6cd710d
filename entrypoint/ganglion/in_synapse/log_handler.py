"""The handler of Synapse's log: lines go to our stderr, many at once."""

import logging
import sys
import threading
import time

# In seconds: how long a line may wait for others.
DELAY = 0.1
# In characters: what is not kept waiting. A pipe takes 64 KiB at once.
FULL = 32 * 1024


class GatheringHandler(logging.StreamHandler):  # type: ignore[type-arg]
    """Writes to stderr after DELAY, or at once where a line is a warning or worse.

    Each write wakes the supervisor, which puts the process's name in front of the lines. One for
    every line took a fifth of the processor time of cheap requests, its and ours together. What
    is lost when the process is killed are at most the lines of the last DELAY.
    """

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self._lines: list[str] = []
        self._size = 0
        self._something = threading.Event()
        self._writer: threading.Thread | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, or write it with all that are kept. The handler's lock is held."""
        try:
            line = self.format(record) + self.terminator
        except Exception:  # noqa: BLE001 - a wrong call of the logger must not end what called it
            self.handleError(record)
            return
        self._lines.append(line)
        self._size += len(line)
        if record.levelno >= logging.WARNING or self._size >= FULL:
            self.flush()
        elif not self._something.is_set():
            self._something.set()
            if self._writer is None:
                # Not before there is something to write: no thread may run when we are forked.
                self._writer = threading.Thread(target=self._write_later, daemon=True, name="log")
                self._writer.start()

    def flush(self) -> None:
        """Write all that is kept."""
        self.acquire()
        try:
            lines, self._lines, self._size = self._lines, [], 0
            if lines:
                self.stream.write("".join(lines))
                super().flush()
        except BrokenPipeError:
            # The supervisor is gone, and with it whoever reads.
            pass
        finally:
            self.release()

    def _write_later(self) -> None:
        while True:
            self._something.wait()
            time.sleep(DELAY)
            self._something.clear()
            self.flush()
