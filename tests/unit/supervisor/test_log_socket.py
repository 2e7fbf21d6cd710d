"""The lines that are kept, and the socket where they are read."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganglion.supervisor.history import BESIDE, History
from ganglion.supervisor.log_socket import MOST_CLIENTS, MOST_WAITING, Client, LogSocket


@pytest.fixture
def history() -> History:
    return History(100_000, clock=lambda: 12.5)


@pytest.fixture
def logs(short_path: Path, history: History) -> Iterator[LogSocket]:
    made = LogSocket(str(short_path / "logs.sock"), history)
    yield made
    made.close()


def ask(logs: LogSocket, place: Path, request: bytes) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(place / "logs.sock"))
    client.sendall(request)
    logs.handle_read_event()
    for item in logs.dispatchers[1:]:
        item.handle_read_event()
    return client


def turn(logs: LogSocket) -> None:
    for item in logs.dispatchers[1:]:
        if isinstance(item, Client) and item.writable():
            item.handle_write_event()


def test_the_oldest_lines_go_first() -> None:
    history = History(3 * (BESIDE + 2))
    for number in range(10):
        history.add("main", "synapse", b"%d\n" % number)
    assert [batch.lines for batch in history.batches()] == [b"7\n", b"8\n", b"9\n"]
    assert history.size <= 3 * (BESIDE + 2)


def test_nothing_is_kept_where_nothing_may_be() -> None:
    history = History(0)
    history.add("main", "synapse", b"x\n")
    assert list(history.batches()) == []


def test_a_reader_gets_the_past_and_the_end(
    logs: LogSocket, history: History, short_path: Path
) -> None:
    history.add("main", "synapse", b"one\ntwo\n")
    with ask(logs, short_path, b"past\n") as client:
        turn(logs)
        assert client.recv(1000) == b"12.500\tmain\tsynapse\tone\n12.500\tmain\tsynapse\ttwo\n"
        assert client.recv(1000) == b""
    assert logs.dispatchers == (logs,)


def test_a_follower_gets_what_comes_and_goes_away(
    logs: LogSocket, history: History, short_path: Path
) -> None:
    history.add("main", "synapse", b"one\n")
    with ask(logs, short_path, b"follow\n") as client:
        turn(logs)
        history.add("nginx", "nginx", b"two\n")
        turn(logs)
        assert client.recv(1000) == b"12.500\tmain\tsynapse\tone\n\n12.500\tnginx\tnginx\ttwo\n"
    history.add("nginx", "nginx", b"three\n")
    turn(logs)
    turn(logs)
    assert history.followers == []
    assert logs.dispatchers == (logs,)


def test_a_follower_that_does_not_read_costs_bounded_memory_and_blocks_nothing(
    logs: LogSocket, history: History, short_path: Path
) -> None:
    with ask(logs, short_path, b"follow\n") as client:
        line = b"x" * 1000 + b"\n"
        for _ in range(5000):
            history.add("main", "synapse", line)
            turn(logs)
        follower = logs.dispatchers[1]
        assert isinstance(follower, Client)
        assert follower.waiting <= MOST_WAITING
        received = b""
        while follower.writable():
            turn(logs)
            received += client.recv(1 << 20)
        assert b" lines were lost: this reader could not take them\n" in received


def test_one_client_too_many_is_disconnected(logs: LogSocket, short_path: Path) -> None:
    clients = [ask(logs, short_path, b"follow\n") for _ in range(MOST_CLIENTS + 1)]
    assert len(logs.dispatchers) == MOST_CLIENTS + 1
    for client in clients:
        client.close()


@pytest.mark.parametrize("request_text", [b"other\n" * 20, b"x" * 65])
def test_a_malformed_request_is_disconnected(
    logs: LogSocket, short_path: Path, request_text: bytes
) -> None:
    with ask(logs, short_path, request_text):
        for item in logs.dispatchers[1:]:
            item.handle_read_event()
        assert logs.dispatchers == (logs,)


def test_only_our_own_account_may_read(logs: LogSocket, short_path: Path) -> None:
    assert logs.dispatchers
    assert (short_path / "logs.sock").stat().st_mode & 0o777 == 0o600
