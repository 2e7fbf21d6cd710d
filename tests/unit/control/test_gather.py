"""Asking many processes at once, some of which do not answer as they should."""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ganglion.control.metrics import gather as module
from ganglion.control.metrics.gather import gather
from ganglion.topology.topology import Address

GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nx 1"
# In seconds: how long the tests wait for a process that says nothing.
WITHIN = 0.5


@contextlib.contextmanager
def answering(path: Path, answer: Callable[[socket.socket], None] | None) -> Iterator[Address]:
    """Listen, and give each connection to `answer`; accept none without."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1)

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    assert connection.recv(1000).startswith(b"GET /_synapse/metrics HTTP/1.0\r\n")
                    assert answer is not None
                    answer(connection)

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield Address(path=str(path))


def endless(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(b"x" * 10_000)


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def dripping(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while True:
            connection.sendall(b"H")
            time.sleep(0.01)


def sending(text: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(text)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(None, "no response within 0.5 s", id="accepts nothing"),
        pytest.param(silent, "no response within 0.5 s", id="silent"),
        pytest.param(dripping, "no response within 0.5 s", id="dripping"),
        pytest.param(endless, "a response of more than 100000 bytes", id="endless"),
        pytest.param(sending(b""), "no response", id="closes"),
        pytest.param(sending(b"\r\n\r\n"), "no response", id="no status"),
        pytest.param(sending(b"HTTP/1.1 500 x\r\n\r\nx"), "answers 500", id="an error"),
        pytest.param(sending(GOOD[:-1]), "an incomplete response", id="incomplete"),
        pytest.param(sending(b"\xff" * 100), "no response", id="no HTTP"),
    ],
)
def test_one_that_does_not_answer_holds_up_no_other(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[[socket.socket], None] | None,
    problem: str,
) -> None:
    monkeypatch.setattr(module, "LONGEST", 100_000)
    found: dict[str, bytes] = {}
    with (
        answering(tmp_path / "bad", answer) as bad,
        answering(tmp_path / "good", sending(GOOD)) as good,
    ):
        addresses = {"bad": bad, "good": good, "gone": Address(path=str(tmp_path / "gone"))}
        problems = gather(addresses, WITHIN, found.__setitem__)
    assert found == {"good": b"x 1"}
    assert problems == {"bad": problem, "gone": "ENOENT"}


def test_a_port_is_asked_too() -> None:
    found: dict[str, bytes] = {}
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(port=listener.getsockname()[1])

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(GOOD)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert gather({"main": address}, 10.0, found.__setitem__) == {}
        thread.join()
    assert found == {"main": b"x 1"}
