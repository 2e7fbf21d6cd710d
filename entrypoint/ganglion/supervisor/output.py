"""The supervisor's stdout: every line of every program, with the program's name.

Nothing here blocks or raises. A reader that pauses, goes away or has a full disk costs lines, which
are counted, but never stops a homeserver.
"""

import os
import select
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

from supervisor import loggers
from supervisor.dispatchers import POutputDispatcher

from ganglion.logs.escape import INDENT, escaped
from ganglion.logs.long_lines import Pieces, place_of_cut
from ganglion.logs.record import SYNAPSE
from ganglion.logs.redact import Known
from ganglion.supervisor.form import GANGLION, SUPERVISOR, Form, Text
from ganglion.supervisor.history import History

STDOUT = 1
# In bytes. A longer line is passed on in pieces of this size.
LONGEST_LINE = 64 * 1024
# In bytes: the lines that wait for a slow reader. 4 MiB are some 30,000 lines.
MOST_WAITING = 4 * 1024**2
# In bytes: a write of this size to a descriptor that poll(2) calls writable does not block, as a
# pipe then has a free page: pipe(7), PIPE_BUF.
SURE = 4096
# In seconds: how long the last lines may take when the supervisor ends.
LAST_LINES = 2.0


class Output:
    """A bounded queue in front of a descriptor, and a dispatcher of supervisord's event loop.

    The descriptor's own mode is left alone, because other processes may share it. `form` is the
    format of the lines, `history` keeps the last ones.
    """

    closed = False

    def __init__(
        self,
        descriptor: int = STDOUT,
        most: int = MOST_WAITING,
        form: Form | None = None,
        history: History | None = None,
    ) -> None:
        self._descriptor = descriptor
        self._most = most
        self.form = form or Text()
        self.history = history or History(0)
        # Secrets that never reach a line.
        self.secrets = Known()
        # Data, and how many lost lines it stands for: its own, or those that a notice reports.
        self._queue: deque[tuple[bytes, int]] = deque()
        self._size = 0
        # Lines that were dropped since the last notice, and writes that failed in all.
        self.dropped = 0
        self.errors = 0

    def tell(self, process: str, kind: str, lines: Sequence[bytes]) -> None:
        """Write what a program printed, in the format of all. Keep it, too.

        `lines` are without line breaks and secrets.
        """
        safe = [escaped(line) for line in lines]
        self.history.add(process, kind, b"\n".join(safe) + b"\n")
        self.put(self.form.lines(process, kind, safe, self.history.clock()))

    def put(self, lines: bytes) -> None:
        """Write whole lines now, or when the reader is ready; drop them if too many wait."""
        if self._size + len(lines) > self._most:
            self.dropped += lines.count(b"\n")
            return
        self._append(lines, lines.count(b"\n"))
        self.flush()

    def flush(self) -> None:
        """Write as much as can be written without blocking."""
        while self._queue and self._is_writable(0):
            self._write_once()
        if self.dropped and self._size < self._most // 2:
            count, self.dropped = self.dropped, 0
            notice = b"%d lines were lost: standard output could not take them" % count
            now = self.history.clock()
            self._append(self.form.lines(SUPERVISOR, GANGLION, [notice], now), count)

    def finish(self, within: float = LAST_LINES) -> None:
        """Write the last lines, for `within` seconds at most."""
        end = time.monotonic() + within
        while self._queue and (left := end - time.monotonic()) > 0:
            if self._is_writable(left):
                self._write_once()

    def _append(self, lines: bytes, lost: int) -> None:
        self._queue.append((lines, lost))
        self._size += len(lines)

    def _is_writable(self, seconds: float) -> bool:
        poller = select.poll()
        poller.register(self._descriptor, select.POLLOUT)
        return bool(poller.poll(seconds * 1000))

    def _write_once(self) -> None:
        data, lost = self._queue[0]
        try:
            written = os.write(self._descriptor, data[:SURE])
        except BlockingIOError:
            return
        except OSError:
            # The reader is gone, or its disk is full. Later lines may have better luck.
            self.errors += 1
            self.dropped += lost
            written = len(data)
        self._size -= written
        if written == len(data):
            self._queue.popleft()
        else:
            self._queue[0] = (data[written:], lost)

    # The interface of a dispatcher of supervisord's event loop.

    def fileno(self) -> int:
        return self._descriptor

    def readable(self) -> bool:
        return False

    def writable(self) -> bool:
        return bool(self._queue)

    def handle_write_event(self) -> None:
        self.flush()

    def handle_error(self) -> None:
        """Count an error that nothing above foresaw."""
        self.errors += 1


class OutputHandler(loggers.Handler):
    """The handler of supervisord's own log."""

    def __init__(self, output: Output, text_format: str) -> None:
        super().__init__()
        self._output = output
        self.setFormat(text_format)

    def emit(self, record: Any) -> None:
        first, *rest = str(self.fmt % record.asdict()).rstrip("\n").splitlines() or [""]
        lines = [first, *(INDENT + line for line in rest)]
        self._output.tell(SUPERVISOR, SUPERVISOR, [_clean(self._output, line) for line in lines])

    def close(self) -> None:
        """Do nothing: the queue is finished by the supervisor."""

    def reopen(self) -> None:
        """Do nothing: stdout has no file to reopen."""

    def remove(self) -> None:
        """Do nothing: stdout has no file to remove."""


def _clean(output: Output, line: str) -> bytes:
    return output.secrets.redacted(line.encode(errors="backslashreplace"))


class PrefixedOutput(POutputDispatcher):
    """Reads one program's output and passes on each whole line with the program's name."""

    output_buffer: bytes

    def __init__(self, process: Any, event_type: Any, fd: int, output: Output) -> None:
        super().__init__(process, event_type, fd)
        self.name = str(process.config.name)
        self.kind = SYNAPSE if process.config.is_synapse else self.name
        self.output = output
        self._pieces = Pieces()

    def record_output(self) -> None:
        """Pass on the whole lines in output_buffer."""
        *lines, rest = self.output_buffer.split(b"\n")
        self.output_buffer = rest
        self._pass_on(lines, cut=False)
        while len(self.output_buffer) >= LONGEST_LINE:
            place = place_of_cut(self.output_buffer, LONGEST_LINE)
            piece, self.output_buffer = self.output_buffer[:place], self.output_buffer[place:]
            self._pass_on([piece], cut=True)

    def close(self) -> None:
        """Pass on a last line without a line break."""
        if self.output_buffer:
            self._pass_on([self.output_buffer], cut=False)
            self.output_buffer = b""
        super().close()

    def _pass_on(self, lines: list[bytes], *, cut: bool) -> None:
        if not lines:
            return
        ready_line = self.process.config.ready_line
        if ready_line and any(ready_line in line for line in lines):
            self.process.mark_ready()
        redact, cleaned = self.output.secrets.redacted, self._pieces.cleaned
        self.output.tell(self.name, self.kind, [cleaned(line, redact, cut=cut) for line in lines])


def say(output: Output, line: str) -> None:
    """Write a line of Ganglion's own."""
    first, *rest = line.splitlines() or [""]
    lines = [first, *(INDENT + more for more in rest)]
    output.tell(GANGLION, GANGLION, [_clean(output, each) for each in lines])
