"""Read the last lines of all programs from the supervisor of the running server."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

from ganglion.control.client import not_running
from ganglion.logs.record import Reader, Record
from ganglion.settings.variables import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A record with the process that wrote it."""

    process: str
    record: Record


def lines(settings: Settings, *, follow: bool) -> Iterator[Line | None]:
    """Yield every record that is kept, then None, and with `follow` the next ones as they come.

    Raises ConfigError if no server runs.
    """
    path = settings.paths.log_socket
    readers: dict[str, Reader] = {}
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            connection.sendall(b"follow\n" if follow else b"past\n")
        except OSError as error:
            raise not_running(settings, f"{path}: {error.strerror}") from error
        received = b""
        while data := _received(connection):
            *whole, received = (received + data).split(b"\n")
            yield from _records(whole, readers)
        yield None


def _received(connection: socket.socket) -> bytes:
    """Return the next bytes; none once the server has ended."""
    try:
        return connection.recv(1 << 18)
    except ConnectionResetError:
        return b""


def _records(whole: list[bytes], readers: dict[str, Reader]) -> Iterator[Line | None]:
    """Read lines as the supervisor sends them: history.Batch.encoded. An empty one ends the past.

    Lines of one program that came at the same time belong together.
    """
    together: list[str] = []
    before: tuple[str, str, str] | None = None
    for line in [*whole, None]:
        parts = None if not line else line.decode(errors="replace").split("\t", 3)
        head = None if parts is None else (parts[0], parts[1], parts[2])
        if before is not None and head != before:
            at, process, kind = before
            reader = readers.setdefault(process, Reader(kind))
            for record in reader.read(together, float(at)):
                yield Line(process=process, record=record)
            together = []
        if line == b"":
            yield None
        if parts is not None:
            together.append(parts[3])
        before = head
