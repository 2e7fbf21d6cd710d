"""The command socket: a response comes when its command has finished."""

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from supervisor import events

from ganglion.supervisor.command_socket import TEST_VERBS, VERBS, CommandSocket
from tests.fake_supervisor import FakeOptions, end, run


@pytest.fixture
def commands(options: FakeOptions, tmp_path: Path) -> Iterator[CommandSocket]:
    """The socket, with two Synapse processes and one other program."""
    for name, app in (("main", "homeserver"), ("reader1", "generic_worker")):
        options.program(name).config.command = f"python -m synapse.app.{app}"
    options.program("redis")
    made = CommandSocket(str(tmp_path / "socket"), options.programs, {**VERBS, **TEST_VERBS})
    events.subscribe(events.ProcessStateEvent, made.answer_finished)
    yield made
    made.close()


def sent(commands: CommandSocket, tmp_path: Path, **request: object) -> socket.socket:
    """A connection whose command the socket has read."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(tmp_path / "socket"))
    client.sendall(json.dumps(request).encode() + b"\n")
    commands.handle_read_event()
    for connection in commands.dispatchers[1:]:
        connection.handle_read_event()
    client.setblocking(False)
    return client


def response(client: socket.socket) -> object:
    """The response that has come, or None."""
    try:
        return json.loads(client.recv(4096))
    except BlockingIOError:
        return None


def test_a_command_is_answered_when_it_has_finished_for_all_processes(
    options: FakeOptions, commands: CommandSocket, tmp_path: Path
) -> None:
    main, reader = options.programs["main"], options.programs["reader1"]
    for program in (main, reader):
        run(program)
    names = ["main", "reader1"]
    assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o600
    with sent(commands, tmp_path, do="hold", names=names, signal="KILL") as client:
        end(main, signal.SIGKILL)
        assert response(client) is None
        end(reader, signal.SIGKILL)
        assert response(client) == {}
    with sent(commands, tmp_path, do="release", names=names) as client:
        run(reader)
        assert response(client) is None
        run(main)
        assert response(client) == {}
    with sent(commands, tmp_path, do="kill", names=["main"]) as client:
        assert response(client) is None
        end(main, signal.SIGKILL)
        assert response(client) == {}


def test_an_impossible_command_is_answered_with_the_reason(
    options: FakeOptions, commands: CommandSocket, tmp_path: Path
) -> None:
    with sent(commands, tmp_path, do="hold", names=["redis"], signal="KILL") as client:
        assert response(client) == {"error": "only Synapse processes can be controlled"}
    for verb, why in (("pause", "is not running now"), ("kill", "is not ready now")):
        with sent(commands, tmp_path, do=verb, names=["main"]) as client:
            assert response(client) == {"error": f"main {why}"}
    assert options.signals == []
    run(options.programs["main"])
    with sent(commands, tmp_path, do="pause", names=["main"]) as client:
        assert response(client) == {}
    assert [number for _, number in options.signals] == [signal.SIGSTOP]


def test_a_client_that_disconnects_is_forgotten(commands: CommandSocket, tmp_path: Path) -> None:
    sent(commands, tmp_path, do="release", names=["main"]).close()
    (connection,) = commands.dispatchers[1:]
    connection.handle_read_event()
    assert not connection.readable()
    assert commands.dispatchers == (commands,)
