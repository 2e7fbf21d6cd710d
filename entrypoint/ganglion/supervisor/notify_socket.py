"""The socket at which programs report that they are ready, by the protocol of sd_notify(3).

Synapse, PostgreSQL and Redis use this protocol by themselves, so nothing needs to be polled.
"""

import socket
import struct
from collections.abc import Callable
from pathlib import Path

from ganglion.supervisor.dispatcher import Reader
from ganglion.supervisor.program import GatedProcess

# struct ucred: the sender's process, user and group ID, which the kernel fills in. unix(7).
CREDENTIALS = struct.Struct("3i")


class NotifySocket(Reader):
    """A datagram socket. Every account may write to it; only supervised programs are believed.

    `program_of` returns the program that has a process ID, or None. The kernel, not the message,
    says which process sent it.
    """

    def __init__(self, path: str, program_of: Callable[[int], GatedProcess | None]) -> None:
        Path(path).unlink(missing_ok=True)
        self._program_of = program_of
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(path)
        Path(path).chmod(0o666)

    def fileno(self) -> int:
        return self._socket.fileno()

    def handle_read_event(self) -> None:
        """Read every waiting message."""
        while True:
            try:
                message, ancillary, _, _ = self._socket.recvmsg(
                    4096, socket.CMSG_SPACE(CREDENTIALS.size)
                )
            except BlockingIOError:
                return
            pid = next(
                (
                    CREDENTIALS.unpack(data)[0]
                    for level, kind, data in ancillary
                    if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS)
                ),
                0,
            )
            program = self._program_of(pid)
            if program is not None and b"READY=1" in message.split(b"\n"):
                program.mark_ready()

    def close(self) -> None:
        self._socket.close()
