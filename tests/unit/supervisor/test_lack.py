"""The supervisor goes on while there are no descriptors, and does later what it could not do."""

import errno
import os
import resource
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ganglion.machine.acting import groups_of
from ganglion.machine.unix_accounts import numbers
from ganglion.supervisor.command_socket import CommandSocket
from ganglion.supervisor.daemon import Daemon
from ganglion.supervisor.errand import Errand
from ganglion.supervisor.helper import Helper
from ganglion.supervisor.history import History
from ganglion.supervisor.lack import REPORTED_EVERY, Patience
from ganglion.supervisor.log_socket import LogSocket
from ganglion.supervisor.private_socket import PAUSE, PrivateSocket
from ganglion.supervisor.program import LONGEST_PAUSE
from ganglion.supervisor.start_times import Timeline
from ganglion.supervisor.states import StatesSocket
from tests.fake_supervisor import FakeOptions, end, run, state, wait

SUPERVISOR = Path(__file__).resolve().parents[3] / "entrypoint" / "ganglion" / "supervisor"


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Have every attempt to open a file fail."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


def test_programs_are_not_stopped_because_they_cannot_be_asked(
    options: FakeOptions, tmp_path: Path
) -> None:
    daemon = Daemon(options, Timeline(), watchdog=6.0)
    assert daemon.watchdog is not None
    main = options.program("main", health=f"http {tmp_path}/main.sock")
    run(main)
    with no_descriptors():
        for _ in range(40):
            options.fake_clock.now += 1
            daemon.tick()
    reports = [line for line in options.logger.lines if "short of something" in line]
    assert len(reports) == 1
    assert "Too many open files" in reports[0]
    assert (main.ready, options.signals) == (True, [])
    # Afterwards it is asked, and does not respond.
    for _ in range(40):
        options.fake_clock.now += 1
        daemon.tick()
    assert options.signals != []
    daemon.watchdog.close()


def test_an_account_is_known_without_descriptors() -> None:
    """The supervisor reads files as Synapse's account before each start of a process."""
    assert numbers("daemon") == numbers("daemon")
    before = groups_of("daemon")
    with no_descriptors():
        with pytest.raises(KeyError):
            numbers("nobody-of-this-name")
        assert numbers("daemon")[0] > 0
        assert groups_of("daemon") == before


def test_a_program_that_cannot_be_started_takes_nothing_else_down(options: FakeOptions) -> None:
    """The attempt that is the last one fails within supervisord's own look at the program."""
    reader = options.program("reader1")
    run(reader)
    end(reader)
    with no_descriptors():
        for _ in range(120):
            wait(reader, 1)
            assert state(reader) in ("EXITED", "BACKOFF")
    wait(reader, LONGEST_PAUSE + 1)
    assert state(reader) == "STARTING"


def test_a_helper_is_started_again_later() -> None:
    helper = Helper("test", lambda _tell: None)
    while not helper.ended:
        helper.handle_read_event()
    before = descriptors()
    with no_descriptors():
        for _ in range(3):
            with pytest.raises(OSError, match="Too many open files"):
                helper.look(lambda _: None)
    assert (helper.ended, descriptors()) == (True, before)
    helper.look(lambda _: None)
    assert not helper.ended
    helper.close()


def test_an_errand_is_run_later() -> None:
    now = [0.0]
    errand = Errand(
        "test",
        lambda tell: tell("pause 5"),
        wait=1,
        longest=100,
        retry=10,
        failed=lambda _: None,
        clock=lambda: now[0],
    )
    now[0] = 2
    with no_descriptors(), pytest.raises(OSError, match="Too many open files"):
        errand.look(lambda _: None)
    now[0] = 3
    errand.look(lambda _: None)
    assert not errand.ended
    errand.close()


Make = Callable[[str, FakeOptions, Callable[[], float]], PrivateSocket]

SOCKETS: dict[str, Make] = {
    "commands": lambda path, options, clock: CommandSocket(path, options.programs, {}, clock),
    "logs": lambda path, _, clock: LogSocket(path, History(0), clock),
    "states": lambda path, _, clock: StatesSocket(path, None, dict, clock),
}


@pytest.mark.parametrize("kind", SOCKETS)
def test_a_client_waits_for_a_descriptor(options: FakeOptions, short_path: Path, kind: str) -> None:
    now = [0.0]
    path = str(short_path / "socket")
    found = SOCKETS[kind](path, options, lambda: now[0])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        with no_descriptors():
            found.handle_read_event()
        # Otherwise the supervisor's loop would try it without a pause.
        assert not found.readable()
        now[0] += PAUSE
        assert found.readable()
        before = descriptors()
        found.handle_read_event()
        # It was accepted now: the first two keep it, the third one answers at once.
        assert found.readable()
        client.settimeout(60)
        assert (descriptors() - before) if kind != "states" else client.recv(10)
    found.close()


def test_every_socket_that_accepts_pauses() -> None:
    """One class accepts, so that the next such socket does the same.

    The other place empties a socket that is given up, once.
    """
    accepting = {path.name for path in SUPERVISOR.rglob("*.py") if ".accept()" in path.read_text()}
    assert accepting == {"private_socket.py", "listening_sockets.py"}
    assert {each.__name__ for each in PrivateSocket.__subclasses__()} == {
        "CommandSocket",
        "LogSocket",
        "StatesSocket",
    }


def test_a_client_that_cannot_be_served_is_disconnected_and_stops_nothing(
    short_path: Path,
) -> None:
    def fail() -> object:
        raise KeyError("unforeseen")

    found = StatesSocket(str(short_path / "socket"), None, fail)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(short_path / "socket"))
        with pytest.raises(KeyError):
            found.handle_read_event()
        # supervisord's loop calls it then.
        found.handle_error()
        client.settimeout(60)
        assert client.recv(10) == b""
    found.close()


def test_a_lack_is_reported_now_and_then_and_other_errors_are_raised() -> None:
    now, lines = [0.0], list[str]()
    patience = Patience(lambda: now[0], lines.append)

    def fail(number: int) -> None:
        raise OSError(number, os.strerror(number))

    for seconds, expected in ((0.0, 1), (1.0, 1), (REPORTED_EVERY, 2)):
        now[0] = seconds
        patience.attempt(lambda: fail(errno.EMFILE))
        assert len(lines) == expected
    with pytest.raises(PermissionError):
        patience.attempt(lambda: fail(errno.EPERM))
