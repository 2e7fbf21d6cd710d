"""Ask all processes for their metrics at the same time, in one thread and within a limit of time.

A process may hang, close the connection or send without end. The others are not held up by it.
"""

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Callable, Mapping

from ganglion.topology.topology import Address

PATH = "/_synapse/metrics"
# In bytes. A process of a large server has 1 MB.
LONGEST = 8 * 1024**2
PIECE = 64 * 1024

# Takes the name of a process and its text.
Take = Callable[[str, bytes], None]


class _Asked:
    """One connection, which never blocks."""

    def __init__(self, name: str, address: Address, path: str) -> None:
        self.name = name
        self.problem: str | None = None
        self.received = bytearray()
        # HTTP/1.0: the response ends with the connection.
        self._request = f"GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n".encode()
        family = socket.AF_UNIX if address.path else socket.AF_INET
        where = address.path or (address.reached, address.port)
        if address.path is None and ":" in address.reached:
            family = socket.AF_INET6
        self.socket = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        code = self.socket.connect_ex(where)
        # EAGAIN: the backlog of a unix socket is full, as of a process that accepts nothing.
        if code not in (0, errno.EINPROGRESS):
            self.problem = errno.errorcode.get(code, str(code))

    @property
    def events(self) -> int:
        return selectors.EVENT_WRITE if self._request else selectors.EVENT_READ

    def advance(self) -> bool:
        """Send or receive a part. Return whether this is over, with a response or a problem."""
        try:
            if self._request:
                self._request = self._request[self.socket.send(self._request) :]
                return False
            part = self.socket.recv(PIECE)
        except BlockingIOError:
            return False
        except OSError as error:
            self.problem = error.strerror or str(error)
            return True
        self.received += part
        if len(self.received) > LONGEST:
            self.problem = f"a response of more than {LONGEST} bytes"
        return not part or self.problem is not None


def gather(
    addresses: Mapping[str, Address], within: float, take: Take, path: str = PATH
) -> dict[str, str]:
    """Give the metrics of each process to `take` as they arrive, for `within` seconds at most.

    Returns the problem of each process that has given none.
    """
    until = time.monotonic() + within
    problems: dict[str, str] = {}
    with selectors.DefaultSelector() as waiting, contextlib.ExitStack() as closing:
        for name, address in addresses.items():
            asked = _Asked(name, address, path)
            closing.callback(asked.socket.close)
            if asked.problem is None:
                waiting.register(asked.socket, asked.events, asked)
            else:
                problems[name] = asked.problem
        while waiting.get_map() and (left := until - time.monotonic()) > 0:
            for key, _ in waiting.select(left):
                asked = key.data
                if not asked.advance():
                    if asked.events != key.events:
                        waiting.modify(asked.socket, asked.events, asked)
                    continue
                waiting.unregister(asked.socket)
                asked.socket.close()
                problem = asked.problem or _give(asked, take)
                if problem is not None:
                    problems[asked.name] = problem
        for key in waiting.get_map().values():
            problems[key.data.name] = f"no response within {within:g} s"
    return problems


def _give(asked: _Asked, take: Take) -> str | None:
    """Hand on the body of a whole and good response, or return why it is none."""
    head, end, body = bytes(asked.received).partition(b"\r\n\r\n")
    asked.received = bytearray()
    status = head.split(maxsplit=2)[1:2]
    if not end or status != [b"200"]:
        return (
            f"answers {status[0].decode('ascii', 'replace')}" if end and status else "no response"
        )
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length" and value.strip() != b"%d" % len(body):
            return "an incomplete response"
    take(asked.name, body)
    return None
