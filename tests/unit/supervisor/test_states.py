"""The socket that says the state of every program."""

import json
import socket
import stat
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from ganglion.supervisor.states import StatesSocket


@pytest.fixture
def states() -> Iterator[StatesSocket]:
    # pytest's own directory is too long for a socket.
    with tempfile.TemporaryDirectory(prefix="ganglion-", dir="/tmp") as place:
        path = f"{place}/states.sock"
        found = StatesSocket(path, None, lambda: {"programs": ["x" * 20_000]})
        yield found
        found.close()


def connect(states: StatesSocket) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(60)
    client.connect(str(states.path))
    return client


def test_only_its_owner_may_connect(states: StatesSocket) -> None:
    assert stat.S_IMODE(states.path.stat().st_mode) == 0o600


def test_each_client_gets_the_whole_answer_and_then_the_end(states: StatesSocket) -> None:
    clients = [connect(states) for _ in range(3)]
    states.handle_read_event()
    for client in clients:
        with client, client.makefile("rb") as stream:
            found: Any = json.loads(stream.read())
        assert found == {"programs": ["x" * 20_000]}


def test_a_client_that_is_gone_or_sends_something_harms_nobody(states: StatesSocket) -> None:
    connect(states).close()
    rude = connect(states)
    rude.sendall(b"x" * 100_000)
    silent = connect(states)
    with connect(states) as good, good.makefile("rb") as stream:
        states.handle_read_event()
        assert json.loads(stream.read())["programs"]
    rude.close()
    silent.close()


def test_without_a_client_nothing_happens(states: StatesSocket) -> None:
    states.handle_read_event()
