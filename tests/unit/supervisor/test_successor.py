"""Successors: the next process waits at its gate until the present one has ended."""

import errno
import os
import signal
import socket
from pathlib import Path

import pytest
from supervisor import events

from ganglion.in_synapse.gate import OPEN, WAITS
from ganglion.supervisor.command_socket import _restart
from ganglion.supervisor.daemon import Daemon
from ganglion.supervisor.program import GatedProcess
from ganglion.supervisor.start_times import Timeline
from ganglion.supervisor.successor import LONGEST, Successor, SuccessorFailed
from tests.fake_supervisor import FakeOptions, end, run, state, wait


@pytest.fixture
def program(options: FakeOptions, tmp_path: Path) -> GatedProcess:
    """A Synapse process that is ready and may be forked."""
    made = options.program("reader1", listens=f"unix:{tmp_path}/socket")
    made.config.command = "/bin/python -m synapse.app.generic_worker --config-path a.yaml"
    options.prefork = options.preloaded = True
    run(made)
    return made


def successor_of(program: GatedProcess) -> Successor:
    assert program.successor is not None
    return program.successor


def reaches_its_gate(program: GatedProcess) -> None:
    program.config.options.gates[-1].sendall(WAITS)
    found = successor_of(program)
    assert found.readable()
    found.handle_read_event()


def received(gate: socket.socket) -> bytes:
    """Return the bytes that have come through a gate; none if it was closed."""
    gate.setblocking(False)
    try:
        return gate.recv(10)
    except BlockingIOError:
        return b""


def test_a_process_ends_only_when_its_successor_waits(
    options: FakeOptions, program: GatedProcess
) -> None:
    before = program.pid
    program.restart()
    pid = successor_of(program).pid
    program.transition()
    assert (options.signals, state(program), program.ready) == ([], "RUNNING", True)
    reaches_its_gate(program)
    assert options.signals == [(before, signal.SIGTERM)]
    assert received(options.gates[0]) == b""
    end(program, 0)
    assert received(options.gates[0]) == b""
    program.transition()
    assert received(options.gates[0]) == OPEN
    assert (program.pid, state(program), program.successor) == (pid, "STARTING", None)
    assert options.pidhistory[pid] is program
    program.mark_ready()
    assert state(program) == "RUNNING"
    # A process after this one is forked as usual.
    end(program)
    program.transition()
    assert program.pid not in (before, pid)


def test_a_process_whose_successor_fails_goes_on(
    options: FakeOptions, program: GatedProcess, capfd: pytest.CaptureFixture[str]
) -> None:
    answers: list[object] = []
    pending = _restart([program], {})
    events.subscribe(SuccessorFailed, lambda _: answers.append(pending()))
    before, found = program.pid, successor_of(program)
    os.write(found.pipes["child_stdout"], b"a reason\n")
    options.pidhistory.pop(found.pid).finish(found.pid, 1 << 8)
    assert "reader1 | a reason\n" in capfd.readouterr().out
    assert (program.pid, program.ready, options.signals) == (before, True, [])
    (answer,) = answers
    assert "reader1 goes on as it is: its next process has ended" in str(answer)
    assert "ended before it took over" in options.logger.lines[-1]
    program.restart()
    reaches_its_gate(program)
    assert options.signals == [(before, signal.SIGTERM)]


def test_a_process_that_ends_by_itself_is_succeeded_at_once(
    options: FakeOptions, program: GatedProcess
) -> None:
    """Its successor is still on its way, and finds its gate open."""
    program.restart()
    pid = successor_of(program).pid
    end(program)
    program.transition()
    assert (program.pid, received(options.gates[0])) == (pid, OPEN)


def test_a_successor_waits_for_what_its_program_needs(options: FakeOptions) -> None:
    postgres, main = options.program("postgres"), options.program("main", "postgres")
    main.config.command = "/bin/python -m synapse.app.homeserver"
    options.prefork = options.preloaded = True
    run(postgres)
    run(main)
    main.sockets._open = {"unix:/nowhere": socket.socket()}
    main.restart()
    reaches_its_gate(main)
    end(postgres)
    end(main, 0)
    main.transition()
    assert (state(main), received(options.gates[0])) == ("STOPPED", b"")
    run(postgres)
    main.transition()
    assert (state(main), received(options.gates[0])) == ("STARTING", OPEN)


def descriptors() -> set[str]:
    return {entry.name for entry in Path("/proc/self/fd").iterdir()}


@pytest.mark.parametrize("how", ["stop", "shutdown", "hold", "give_up_sockets", "time"])
def test_a_successor_that_is_not_needed_is_ended(
    options: FakeOptions, program: GatedProcess, how: str
) -> None:
    program.restart()
    pid = successor_of(program).pid
    if how == "stop":
        program.stop()
    elif how == "shutdown":
        # Its process has ended, so there is nothing else to stop.
        end(program)
        daemon = Daemon(options, Timeline())
        daemon.stop_groups = []
        daemon.ordered_stop_groups_phase_1()
    elif how == "hold":
        program.hold(signal.SIGKILL)
    elif how == "give_up_sockets":
        program.set_late()
    else:
        wait(program, LONGEST - 1)
        assert options.signals == []
        wait(program, 2)
    assert (pid, signal.SIGKILL) in options.signals


def test_a_process_goes_on_if_there_can_be_no_other(
    program: GatedProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under a limit of the number of processes."""
    options = program.config.options
    before = descriptors()

    def fail() -> int:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(options, "close_child_pipes", super(FakeOptions, options).close_child_pipes)
    monkeypatch.setattr(options, "fork", fail)
    answer = _restart([program], {})()
    assert "reader1 goes on as it is" in str(answer)
    assert "Resource temporarily unavailable" in str(answer)
    assert (program.ready, program.restarting, options.signals) == (True, False, [])
    options.gates.pop().close()
    assert descriptors() == before


def test_a_program_without_sockets_ends_before_its_next_process_starts(
    options: FakeOptions, program: GatedProcess
) -> None:
    """It opened its own, because those that it was handed were given up. Two cannot listen."""
    program.sockets.close()
    program.restart()
    assert program.successor is None
    assert options.signals == [(program.pid, signal.SIGTERM)]
