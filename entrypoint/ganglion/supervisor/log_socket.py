"""The socket at which `ganglion logs` reads the last lines, and follows the next ones.

A client sends one line: `past`, or `follow` to get the next lines too, after an empty one. A client
that reads slowly loses lines, which are counted; it never holds the supervisor up.
"""

import socket
import time
from collections import deque
from collections.abc import Callable, Iterator

from ganglion.supervisor.history import Batch, History
from ganglion.supervisor.private_socket import PrivateSocket

# In bytes: the lines that wait for a client that follows.
MOST_WAITING = 1024**2
# In bytes: as much is sent in one turn of the event loop.
TURN = 128 * 1024
MOST_CLIENTS = 8
LONGEST_REQUEST = 64


class LogSocket(PrivateSocket):
    """Accepts clients. Only the supervisor's own account may connect, since logs name people."""

    def __init__(
        self, path: str, history: History, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(path, clock)
        self._history = history
        self._clients: list[Client] = []

    @property
    def dispatchers(self) -> "tuple[LogSocket | Client, ...]":
        """This socket and every client."""
        self._clients = [each for each in self._clients if not each.closed]
        return (self, *self._clients)

    def welcome(self, connection: socket.socket) -> None:
        """Take a client; one too many is disconnected."""
        if len(self.dispatchers) > MOST_CLIENTS:
            connection.close()
        else:
            self._clients.append(Client(connection, self._history))

    def close(self) -> None:
        for client in self._clients:
            client.close()
        super().close()


class Client:
    """One client: its request, the past, and then the next lines."""

    def __init__(self, connection: socket.socket, history: History) -> None:
        connection.setblocking(False)
        self.closed = False
        self._socket = connection
        self._history = history
        self._request = b""
        self._past: Iterator[Batch] | None = None
        self._following = False
        self._next: deque[Batch] = deque()
        self.waiting = 0
        self._lost = 0
        self._unsent = b""

    def fileno(self) -> int:
        return self._socket.fileno()

    def readable(self) -> bool:
        return not self.closed

    def writable(self) -> bool:
        return not self.closed and (
            self._past is not None or bool(self._unsent) or bool(self._next) or bool(self._lost)
        )

    def handle_read_event(self) -> None:
        """Read the request. Afterwards, the only thing to read is the end."""
        try:
            data = self._socket.recv(LONGEST_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._request += data
        asked = self._past is not None or self._following
        if not data or (asked and data) or len(self._request) > LONGEST_REQUEST:
            self.close()
        elif self._request in (b"past\n", b"follow\n"):
            self._past = self._history.batches()
            if self._request == b"follow\n":
                self._following = True
                self._history.followers.append(self._comes)

    def handle_write_event(self) -> None:
        """Send what the client takes."""
        sent = 0
        while sent < TURN and (self._unsent or self._load()):
            try:
                number = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            self._unsent = self._unsent[number:]
            sent += number
        if not self._unsent and self._past is None and not self._following:
            self.close()

    def handle_error(self) -> None:
        """Disconnect; the supervisor goes on."""
        self.close()

    def close(self) -> None:
        self.closed = True
        if self._comes in self._history.followers:
            self._history.followers.remove(self._comes)
        self._past, self._unsent = None, b""
        self._next.clear()
        self._socket.close()

    def _comes(self, batch: Batch) -> None:
        if self.waiting + len(batch.lines) > MOST_WAITING:
            self._lost += batch.lines.count(b"\n")
            return
        self._next.append(batch)
        self.waiting += len(batch.lines)

    def _load(self) -> bool:
        """Make the next lines ready to be sent. Return whether there are any."""
        if self._past is not None:
            batch = next(self._past, None)
            if batch is not None:
                self._unsent = batch.encoded()
                return True
            self._past = None
            if self._following:
                # The end of the past.
                self._unsent = b"\n"
                return True
        if self._next:
            batch = self._next.popleft()
            self.waiting -= len(batch.lines)
            self._unsent = batch.encoded()
        elif self._lost:
            text = f"{self._lost} lines were lost: this reader could not take them\n"
            self._lost = 0
            self._unsent = Batch(
                self._history.clock(), "supervisor", "supervisor", text.encode()
            ).encoded()
        return bool(self._unsent)
