"""Ends the main loop's wait when a signal comes, above all SIGCHLD."""

import contextlib
import signal
import socket

from ganglion.supervisor.dispatcher import Reader


class Waker(Reader):
    """A socket that the interpreter writes to when a signal comes.

    Since PEP 475 a signal no longer interrupts poll(2), so without this the end of a program is
    noticed up to a second late.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def handle_read_event(self) -> None:
        """Take what was written: that it was is all that counts."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()
