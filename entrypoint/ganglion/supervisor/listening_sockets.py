"""Listening sockets that the supervisor owns and hands to each process of a program in turn.

While a program is between two processes, connections wait in the backlog of its socket. One that
does not come back soon has its socket given up, so that the others of its pool take over at once.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from ganglion.in_synapse.listening import BACKLOG
from ganglion.machine.acting import acting_as
from ganglion.supervisor.addresses import UNIX, destination

# Synapse's own mode for a socket. The directory keeps other accounts out.
SOCKET_MODE = 0o666
# nginx then sends the request to another process, even a POST, as nothing has read it: nginx.conf.
GIVEN_BACK = (
    b"HTTP/1.1 503 Service Unavailable\r\nX-Accel-Redirect: @given_back\r\n"
    b"Content-Length: 0\r\nConnection: close\r\n\r\n"
)
MOST_READ = 64 * 1024
# The open sockets of all programs, which no other child process may keep open.
_ALL: set[socket.socket] = set()


class ListeningSockets:
    """The sockets of one program, open or not.

    `addresses` are `unix:` with a path, or a host and a port, with an IPv6 host in brackets.
    `account` owns the paths; None for the account of this process.
    """

    def __init__(self, addresses: Sequence[str], account: str | None = None) -> None:
        self._addresses = tuple(addresses)
        self._account = account
        self._open: dict[str, socket.socket] = {}

    @property
    def descriptors(self) -> dict[str, int]:
        """The descriptor of each address; empty while they are not open."""
        return {address: each.fileno() for address, each in self._open.items()}

    def open(self) -> None:
        """Listen at every address, unless that is so already. Raises OSError, and opens none."""
        opened: dict[str, socket.socket] = {}
        try:
            for address in self._addresses:
                if address not in self._open:
                    opened[address] = self._listen(address)
        except OSError:
            for each in opened.values():
                each.close()
            raise
        self._open |= opened
        _ALL.update(opened.values())

    def move(self, addresses: Sequence[str]) -> None:
        """Have other addresses from the next open() on. Sockets at the same ones stay open."""
        self._addresses = tuple(addresses)
        for address in [each for each in self._open if each not in addresses]:
            left = self._open.pop(address)
            _ALL.discard(left)
            left.close()

    def close(self) -> None:
        """Close them here. A process that was handed them goes on to listen."""
        for each in self._open.values():
            each.close()
        _ALL.difference_update(self._open.values())
        self._open = {}

    def give_up(self) -> None:
        """Refuse connections from now on, and give back the requests of those that wait.

        A process that was handed the sockets and does not listen yet finds them ended, and opens
        its own.
        """
        for address, each in self._open.items():
            if address.startswith(UNIX):
                with acting_as(self._account), contextlib.suppress(OSError):
                    Path(address.removeprefix(UNIX)).unlink()
            waiting = _accepted(each)
            # Before any answer: nginx sends the request again at once, which would wait here again.
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            for connection in waiting:
                _give_back(connection)
        self.close()

    def are_reachable(self) -> bool:
        """Return whether somebody listens at every address."""
        return all(_is_reachable(address) for address in self._addresses)

    def _listen(self, address: str) -> socket.socket:
        family, where = destination(address)
        if isinstance(where, str):
            return self._listen_at_path(where)
        opened = socket.socket(family)
        with _closed_on_error(opened):
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                # As nginx does by itself: IPv4 has a socket of its own.
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            opened.bind(where)
            _begin(opened)
        return opened

    def _listen_at_path(self, path: str) -> socket.socket:
        opened = socket.socket(socket.AF_UNIX)
        with _closed_on_error(opened), acting_as(self._account):
            # Of a process before: Twisted's lock may name a process that is somebody else now.
            for left in (path, f"{path}.lock"):
                Path(left).unlink(missing_ok=True)
            mask = os.umask(0o777 & ~SOCKET_MODE)
            try:
                opened.bind(path)
            finally:
                os.umask(mask)
            _begin(opened)
        return opened


def close_all(kept: frozenset[int] = frozenset()) -> None:
    """Close the sockets of all programs but for `kept`, in a child process.

    A socket refuses connections only once no process has it.
    """
    for each in tuple(_ALL):
        if each.fileno() not in kept:
            _ALL.discard(each)
            each.close()


def _accepted(listening: socket.socket) -> list[socket.socket]:
    """Return all connections that no process has accepted."""
    found: list[socket.socket] = []
    # It ends with BlockingIOError after the last one.
    with contextlib.suppress(OSError):
        while True:
            found.append(listening.accept()[0])
    return found


def _give_back(connection: socket.socket) -> None:
    """Give the request of a connection back, and close it."""
    connection.setblocking(False)
    with connection, contextlib.suppress(OSError):
        # A TCP connection that is closed with data unread is reset.
        with contextlib.suppress(BlockingIOError):
            connection.recv(MOST_READ)
        connection.send(GIVEN_BACK)


def _is_reachable(address: str) -> bool:
    family, where = destination(address)
    with socket.socket(family) as connection:
        connection.setblocking(False)
        code = connection.connect_ex(where)
    # A connection to a port is under way, or its backlog is full: somebody listens.
    return code in (0, errno.EINPROGRESS, errno.EAGAIN)


def _begin(opened: socket.socket) -> None:
    opened.setblocking(False)
    opened.listen(BACKLOG)


@contextlib.contextmanager
def _closed_on_error(opened: socket.socket) -> Iterator[None]:
    try:
        yield
    except BaseException:
        opened.close()
        raise
