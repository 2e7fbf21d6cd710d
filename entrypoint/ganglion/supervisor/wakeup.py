"""End the event loop's wait when a signal arrives, above all SIGCHLD."""

import contextlib
import signal
import socket

from ganglion.supervisor.dispatcher import Reader


class Waker(Reader):
    """A socket that the interpreter writes to when a signal arrives.

    Since PEP 475 a signal no longer interrupts poll(2). Without this socket the supervisor would
    notice the end of a program up to a second late.
    """

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        return self._reader.fileno()

    def handle_read_event(self) -> None:
        """Read and discard what the interpreter wrote."""
        with contextlib.suppress(BlockingIOError):
            while self._reader.recv(4096):
                pass

    def close(self) -> None:
        signal.set_wakeup_fd(-1)
        self._reader.close()
        self._writer.close()
