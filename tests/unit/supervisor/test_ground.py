"""No accident stops the supervisor: a bad program, SIGHUP, an exception, a step of the clock."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from supervisor import process
from supervisor.medusa import asyncore_25 as asyncore
from supervisor.states import ProcessStates, SupervisorStates
from supervisor.supervisord import Supervisor

from ganglion.machine import clean_fork
from ganglion.supervisor import clock
from ganglion.supervisor.daemon import Daemon
from ganglion.supervisor.program import FIRST_PAUSE, LONGEST_PAUSE
from ganglion.supervisor.start_times import Timeline
from tests.fake_supervisor import FAILED, FakeOptions

SOURCE = Path(__file__).resolve().parents[3] / "entrypoint" / "ganglion"


def fail_once(options: FakeOptions, program_name: str) -> None:
    program = options.programs[program_name]
    program.transition()
    assert program.pid
    options.fake_clock.now += 1
    program.finish(program.pid, FAILED)
    # The child's ends of the pipes, which no child has closed.
    for name, descriptor in options.ends.items():
        if name.startswith("child_") and descriptor is not None:
            options.close_fd(descriptor)


def fail_until_pause(options: FakeOptions, name: str, pauses: int) -> None:
    program = options.programs[name]
    while program.pauses < pauses:
        options.fake_clock.now += LONGEST_PAUSE + 1
        fail_once(options, name)
        program.transition()


def test_a_worker_that_keeps_failing_is_tried_again_after_growing_pauses(
    options: FakeOptions,
) -> None:
    program = options.program("pusher1")
    lengths = []
    for pauses in range(1, 9):
        fail_until_pause(options, "pusher1", pauses)
        assert program.state == ProcessStates.BACKOFF
        lengths.append(program.delay - options.fake_clock.now)
    assert lengths[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert lengths[-1] == LONGEST_PAUSE
    options.fake_clock.now += LONGEST_PAUSE + 1
    program.transition()
    program.mark_ready()
    assert program.ready


@pytest.mark.parametrize("name", ["postgres", "redis", "main", "nginx"])
def test_an_essential_program_that_keeps_failing_ends_the_server(
    options: FakeOptions, name: str
) -> None:
    program = options.program(name)
    for _ in range(20):
        options.fake_clock.now += LONGEST_PAUSE
        if program.state == ProcessStates.FATAL:
            return
        fail_once(options, name)
        program.transition()
    pytest.fail(f"{name} is still tried")


def test_nginx_starts_without_a_worker_that_keeps_failing(options: FakeOptions) -> None:
    options.program("pusher1")
    nginx = options.program("nginx", needs="pusher1")
    nginx.transition()
    assert not nginx.pid
    fail_until_pause(options, "pusher1", 1)
    nginx.transition()
    assert nginx.pid


def test_locks_stay_open_in_every_program(options: FakeOptions, tmp_path: Path) -> None:
    kept = os.open(tmp_path / "kept", os.O_CREAT | os.O_RDWR)
    other = os.open(tmp_path / "other", os.O_CREAT | os.O_RDWR)
    options.kept = frozenset({kept})
    options.close_fd(kept)
    options.close_fd(other)
    os.fstat(kept)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(other)
    os.close(kept)


def daemon(options: FakeOptions) -> Daemon:
    return Daemon(options, Timeline())


def test_sighup_reloads_programs_and_ends_nothing(options: FakeOptions) -> None:
    for name in ("nginx", "redis"):
        program = options.program(name)
        program.transition()
        program.mark_ready()
    found = daemon(options)
    options.signal_receiver.receive(signal.SIGHUP, None)
    found.handle_signal()
    assert options.mood == SupervisorStates.RUNNING
    nginx = options.programs["nginx"].pid
    assert options.signals == [(nginx, signal.SIGHUP)]
    assert "reloaded nginx" in options.logger.lines


def test_sigterm_behind_sighup_is_not_lost(options: FakeOptions) -> None:
    found = daemon(options)
    options.signal_receiver.receive(signal.SIGHUP, None)
    options.signal_receiver.receive(signal.SIGTERM, None)
    found.handle_signal()
    assert options.mood == SupervisorStates.SHUTDOWN


@pytest.mark.parametrize("failures", [1, 2])
def test_an_exception_in_the_loop_is_an_orderly_stop_with_status_1(
    options: FakeOptions, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    moods: list[Any] = []

    def loop(_self: Supervisor) -> None:
        moods.append(options.mood)
        if len(moods) <= failures:
            raise KeyError("unforeseen")
        raise asyncore.ExitNow

    monkeypatch.setattr(Supervisor, "runforever", loop)
    options.pidhistory = {4711: object()}
    with pytest.raises((asyncore.ExitNow, KeyError)):
        daemon(options)._loop()
    assert options.exit_status == 1
    assert moods == [SupervisorStates.RUNNING, SupervisorStates.SHUTDOWN]
    # Nothing outlives the supervisor, even if stopping fails as well.
    assert options.signals == [(-4711, signal.SIGKILL)]


def test_a_step_of_the_clock_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    before = clock.now()
    monkeypatch.setattr(time, "time", lambda: 0.0)
    assert clock.now() >= before
    original = process.time
    try:
        clock.install()
        assert process.time.time() >= before
    finally:
        process.time = original


@pytest.mark.timeout(60)
def test_a_program_ends_with_the_supervisor(tmp_path: Path) -> None:
    """A parent is killed; the kernel then sends its child the signal that it asked for."""
    code = f"""
import os, signal, time
from ganglion.machine.parent_death import end_with_parent
parent = os.getpid()
reader, writer = os.pipe()
if os.fork() == 0:
    def end(*_):
        open({str(tmp_path / "ended")!r}, "w").close()
        os._exit(0)
    signal.signal(signal.SIGTERM, end)
    end_with_parent(parent, signal.SIGTERM)
    os.write(writer, b"x")
    while True:
        time.sleep(1)
os.read(reader, 1)
os.kill(parent, signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == -signal.SIGKILL
    while not (tmp_path / "ended").exists():
        time.sleep(0.05)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP])
def test_a_signal_ends_a_child_that_has_not_begun_its_program(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its parent's handlers only note a signal, and an execve(2) forgets the note."""
    fork = os.fork
    # Sent before the child can do anything: to itself, while signals are held back.
    monkeypatch.setattr(os, "fork", lambda: _signal_oneself(fork(), number))
    noted: list[int] = []
    before = signal.signal(number, lambda *_: noted.append(number))
    reader, writer = os.pipe()
    try:
        child = clean_fork.fork()
        if child == 0:
            os.write(writer, b"lives")
            os._exit(0)
        _, status = os.waitpid(child, 0)
    finally:
        os.close(writer)
        signal.signal(number, before)
    assert os.read(reader, 10) == b""
    os.close(reader)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == number
    # The parent still notes its own.
    assert noted == []
    assert number not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def _signal_oneself(pid: int, number: int) -> int:
    """Send the signal in the child. Return what fork(2) returned."""
    if pid == 0:
        os.kill(os.getpid(), number)
    return pid


def test_the_supervisor_forks_in_one_way() -> None:
    """The first boot forks too, before the supervisor has handlers of its own."""
    forking = {path.name for path in SOURCE.rglob("*.py") if "os.fork()" in path.read_text()}
    assert forking == {"clean_fork.py", "background.py"}
