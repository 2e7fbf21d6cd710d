"""Unix sockets of the supervisor's, which its own account alone may connect to."""

import math
import socket
import time
from collections.abc import Callable
from pathlib import Path

from ganglion.supervisor.dispatcher import Reader

# In seconds: how long clients wait if a connection cannot be accepted, for lack of a descriptor.
PAUSE = 1.0
# Connections that are accepted in one turn of the event loop.
AT_ONCE = 8


class PrivateSocket(Reader):
    """Accepts connections for as long as the supervisor runs. Nothing about one stops it.

    A client waits while no descriptor is left. Without the pause, the event loop would try again
    at once and for ever.
    """

    def __init__(self, path: str, clock: Callable[[], float] = time.monotonic) -> None:
        """Listen at `path`; `clock` gives seconds."""
        self.path = Path(path)
        self._clock = clock
        self._not_before = -math.inf
        self._socket = listener(path)

    def welcome(self, connection: socket.socket) -> None:
        """Take over a connection."""
        raise NotImplementedError

    def fileno(self) -> int:
        return self._socket.fileno()

    def readable(self) -> bool:
        return self._clock() >= self._not_before

    def handle_read_event(self) -> None:
        """Accept waiting connections, some in each turn of the loop."""
        for _ in range(AT_ONCE):
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return
            except OSError:
                self._not_before = self._clock() + PAUSE
                return
            try:
                self.welcome(connection)
            except BaseException:
                connection.close()
                raise

    def handle_error(self) -> None:
        """Go on: the client whose connection failed has lost it."""

    def close(self) -> None:
        self._socket.close()


def listener(path: str) -> socket.socket:
    """Listen at a path, in place of a socket that a dead supervisor left there. Never blocks."""
    Path(path).unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    found.bind(path)
    Path(path).chmod(0o600)
    found.listen()
    return found
