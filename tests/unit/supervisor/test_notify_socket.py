"""The notify socket: which messages report readiness, and which senders are believed."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganglion.supervisor.notify_socket import NotifySocket
from tests.fake_supervisor import FakeOptions

Listener = tuple[NotifySocket, str]


@pytest.fixture
def listener(options: FakeOptions, tmp_path: Path) -> Iterator[Listener]:
    """The socket and its path. This process is the program `main`; no other process is one."""
    main = options.program("main")
    main.transition()
    path = str(tmp_path / "notify.sock")
    sock = NotifySocket(path, {os.getpid(): main}.get)
    yield sock, path
    sock.close()


def send(path: str, message: bytes) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(message, path)


def ready(options: FakeOptions) -> bool:
    return options.programs["main"].ready


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"READY=1", True),
        (b"READY=1\n", True),
        (b"STATUS=up\nREADY=1\nMAINPID=1", True),
        (b"READY=10", False),
        (b"NOTREADY=1", False),
        (b"READY=0", False),
        (b"STOPPING=1", False),
        (b"", False),
        (b"\xff" * 5000, False),
    ],
)
def test_a_program_is_ready_after_a_line_ready_1(
    options: FakeOptions,
    listener: Listener,
    message: bytes,
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    sock, path = listener
    send(path, message)
    sock.handle_read_event()
    assert ready(options) is expected


def test_only_supervised_programs_are_believed(options: FakeOptions, listener: Listener) -> None:
    """The kernel reports the sender; any process can write any text into a message."""
    sock, path = listener
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.sendto(b'READY=1\\nMAINPID=' + sys.argv[2].encode(), sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", script, path, str(os.getpid())], check=True)
    sock.handle_read_event()
    assert not ready(options)
    send(path, b"READY=1")
    sock.handle_read_event()
    assert ready(options)


def test_all_waiting_messages_are_read_at_once(options: FakeOptions, listener: Listener) -> None:
    sock, path = listener
    for message in (b"STATUS=a", b"STATUS=b", b"READY=1"):
        send(path, message)
    sock.handle_read_event()
    assert ready(options)
    # Nothing is left: this returns instead of waiting for a message.
    sock.handle_read_event()


def test_the_socket_of_an_earlier_start_is_replaced(
    options: FakeOptions, listener: Listener
) -> None:
    _, path = listener
    again = NotifySocket(path, {os.getpid(): options.programs["main"]}.get)
    send(path, b"READY=1")
    again.handle_read_event()
    again.close()
    assert ready(options)
    # Other accounts must be able to write to it.
    assert Path(path).stat().st_mode & 0o777 == 0o666


def test_it_is_a_dispatcher_that_is_only_read(listener: Listener) -> None:
    sock, _ = listener
    assert (sock.readable(), sock.writable(), sock.closed) == (True, False, False)
    assert sock.fileno() > 2
