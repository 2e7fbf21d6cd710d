"""The watchdog, with real sockets and a clock that tests turn."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganglion.supervisor.program import GatedProcess
from ganglion.supervisor.watchdog import (
    BUSY_FACTOR,
    BUSY_SHARE,
    EVERY,
    IDLE_EVERY,
    MISSES,
    QUESTIONS,
    START_FACTOR,
    STOPPED,
    Watchdog,
    children_of,
    waits_for_the_disk,
    work_of,
)
from tests.fake_supervisor import FakeOptions, end, run, state
from tests.harness import wait_until

LIMIT = 6.0
KILLED = signal.SIGKILL


class Peer:
    """The listener of a program, which responds only if a test says so."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.requests: list[bytes] = []

    def accept(self, response: bytes | None) -> None:
        """Take the waiting question, respond, and close."""
        connection, _ = self.listener.accept()
        with connection:
            if response is not None:
                self.requests.append(connection.recv(4096))
                connection.sendall(response)


class Room:
    """A watchdog and what surrounds it. `work` is what its program has worked, in seconds."""

    def __init__(self, options: FakeOptions) -> None:
        self.options = options
        self.work = 0.0
        self.is_idle = False
        self.state = "S"
        self.waits = False
        self.lines: list[str] = []
        self.watchdog = Watchdog(
            options.programs.values,
            LIMIT,
            options.clock,
            self.lines.append,
            work=lambda _: self.work,
            waits=lambda _: self.waits,
            state=lambda _: self.state,
        )

    def go(self, seconds: float) -> None:
        """Let time pass, a second a look, as supervisord's loop does."""
        for _ in range(round(seconds)):
            self.options.fake_clock.now += 1
            # A few requests: far from busy.
            self.work += 0.0 if self.is_idle else 0.005
            self.watchdog.handle_read_event()
            self.watchdog.look()
            self.watchdog.handle_read_event()

    def kills(self, program: GatedProcess) -> int:
        return self.options.signals.count((program.pid, KILLED))


@pytest.fixture
def room(options: FakeOptions) -> Iterator[Room]:
    made = Room(options)
    yield made
    made.watchdog.close()


@pytest.fixture
def peer(short_path: Path) -> Iterator[Peer]:
    made = Peer(str(short_path / "health.sock"))
    yield made
    made.listener.close()


def started(room: Room, health: str) -> GatedProcess:
    program = room.options.program("worker", health=health)
    run(program)
    return program


@pytest.mark.parametrize("protocol", QUESTIONS)
def test_a_program_that_responds_is_left_alone(room: Room, peer: Peer, protocol: str) -> None:
    program = started(room, f"{protocol} {peer.path}")
    for _ in range(2 * MISSES):
        room.go(EVERY + 1)
        peer.accept(b"N")
        room.go(1)
    assert set(peer.requests) == {QUESTIONS[protocol]}
    assert len(peer.requests) == 2 * MISSES
    assert (room.kills(program), room.lines) == (0, [])


def test_a_program_that_does_nothing_is_asked_less_often(room: Room, peer: Peer) -> None:
    program = started(room, f"http {peer.path}")
    room.go(EVERY + 1)
    peer.accept(b"N")
    room.go(1)
    room.is_idle = True
    room.go(IDLE_EVERY - 1)
    assert not room.watchdog._questions
    room.go(2)
    peer.accept(b"N")
    room.go(1)
    assert len(peer.requests) == 2
    # It works again, or hangs as soon as it does.
    room.is_idle = False
    room.go(EVERY + 1)
    assert room.watchdog._questions
    room.go(LIMIT)
    assert room.kills(program) == 1


def test_a_program_that_is_stopped_while_idle_is_replaced_as_soon(room: Room, peer: Peer) -> None:
    program = started(room, f"http {peer.path}")
    room.go(EVERY + 1)
    peer.accept(b"N")
    room.go(1)
    room.is_idle, room.state = True, STOPPED
    room.go(EVERY + LIMIT + MISSES)
    assert room.kills(program) == 1


def test_a_question_that_a_forked_child_holds_too_is_forgotten(room: Room, peer: Peer) -> None:
    program = started(room, f"http {peer.path}")
    room.go(EVERY + 1)
    (descriptor,) = room.watchdog._questions
    held_by_the_child = os.dup(descriptor)
    try:
        program.pid += 1
        room.watchdog.look()
        peer.accept(b"N")
        room.watchdog.handle_read_event()
    finally:
        os.close(held_by_the_child)
    assert room.lines == []


@pytest.mark.parametrize("behaviour", ["takes no connection", "refuses", "closes", "is gone"])
def test_a_silent_program_without_work_is_replaced(room: Room, peer: Peer, behaviour: str) -> None:
    if behaviour == "refuses":
        peer.listener.close()
    elif behaviour == "is gone":
        Path(peer.path).unlink()
    program = started(room, f"http {peer.path}")
    for _ in range(round(EVERY + LIMIT)):
        assert room.kills(program) == 0
        room.go(1)
        if behaviour == "closes":
            peer.listener.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                peer.accept(None)
    room.go(MISSES)
    assert room.kills(program) == 1
    assert len(room.lines) == 1
    assert "does nothing, so it is replaced" in room.lines[0]


@pytest.mark.parametrize("reads", [True, False], ids=["closes", "resets"])
def test_nginx_that_closes_new_connections_is_full_and_not_hung(
    room: Room, peer: Peer, *, reads: bool
) -> None:
    program = started(room, f"nginx {peer.path}")
    peer.listener.settimeout(0)
    closed = 0
    for _ in range(round(3 * LIMIT)):
        room.go(1)
        with contextlib.suppress(BlockingIOError):
            peer.accept(b"" if reads else None)
            closed += 1
    assert closed > MISSES
    assert (room.kills(program), room.lines) == (0, [])


def test_a_full_backlog_is_no_answer(room: Room, short_path: Path) -> None:
    """A stopped process accepts nothing, so its backlog fills."""
    path = str(short_path / "full.sock")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(path)
        listener.listen(0)
        first.connect(path)
        program = started(room, f"http {path}")
        room.go(EVERY + LIMIT + MISSES)
    assert room.kills(program) == 1


def test_a_busy_program_has_longer(room: Room, peer: Peer) -> None:
    program = started(room, f"http {peer.path}")
    for _ in range(round(BUSY_FACTOR * LIMIT) - 2):
        room.work += 1
        room.go(1)
    assert room.kills(program) == 0
    assert [line.partition(" s")[2] for line in room.lines] == [", but it is working"]
    for _ in range(round(LIMIT)):
        room.work += 1
        room.go(1)
    assert room.kills(program) == 1
    assert "works without an end" in room.lines[-1]


def test_a_stalled_disk_is_waited_for(room: Room, peer: Peer) -> None:
    program = started(room, f"http {peer.path}")
    room.waits = True
    room.go(5 * LIMIT)
    assert room.kills(program) == 0
    room.waits = False
    room.go(LIMIT)
    assert room.kills(program) == 1


def test_a_process_in_a_pipe_does_not_wait_for_the_disk() -> None:
    assert not waits_for_the_disk(os.getpid())
    assert not waits_for_the_disk(2**22 + 1)


def test_a_program_that_responds_at_last_is_forgiven(room: Room, peer: Peer) -> None:
    program = started(room, f"http {peer.path}")
    for _ in range(round(3 * LIMIT)):
        room.work += 1
        room.go(1)
    peer.listener.setblocking(False)
    for _ in range(2 * MISSES + 2):
        # Also the questions that were given up are still in the backlog.
        with contextlib.suppress(BlockingIOError):
            while True:
                with contextlib.suppress(BrokenPipeError):
                    peer.accept(b"HTTP/1.0 200 OK\r\n")
        room.go(1)
    assert room.lines[-1] == "worker responds again"
    assert room.kills(program) == 0


def test_a_paused_a_starting_and_another_process_are_not_counted(room: Room, peer: Peer) -> None:
    program = started(room, f"http {peer.path}")
    program.pause()
    room.go(5 * LIMIT)
    program.resume()
    room.go(EVERY + LIMIT - 2)
    end(program)
    room.go(5 * LIMIT)
    program.transition()
    room.go(5 * LIMIT)
    program.mark_ready()
    room.go(EVERY + LIMIT - 2)
    assert room.kills(program) == 0
    room.go(MISSES + 2)
    assert room.kills(program) == 1


def test_a_start_that_hangs_is_not_waited_for(room: Room, peer: Peer) -> None:
    worker = room.options.program("worker", health=f"http {peer.path}")
    nginx = room.options.program("nginx", "worker")
    worker.transition()
    room.go(START_FACTOR * LIMIT - 1)
    nginx.transition()
    assert state(nginx) == "STOPPED"
    room.go(2)
    nginx.transition()
    assert state(nginx) == "STARTING"
    assert "does nothing: the other programs go on without it" in room.lines[0]
    room.go(START_FACTOR * LIMIT)
    assert (len(room.lines), room.kills(worker)) == (1, 0)
    worker.mark_ready()
    assert (worker.ready, worker.late) == (True, False)


def test_a_start_that_works_or_is_essential_is_waited_for(room: Room, peer: Peer) -> None:
    main = room.options.program("main", health=f"http {peer.path}")
    main.transition()
    room.go(100 * LIMIT)
    assert not main.late
    worker = room.options.program("worker", health=f"http {peer.path}")
    worker.transition()
    for _ in range(round(2 * START_FACTOR * LIMIT)):
        room.work += 1
        room.go(1)
    assert not worker.late


def test_a_program_without_an_address_is_not_asked(room: Room) -> None:
    program = started(room, "")
    room.go(5 * LIMIT)
    assert room.kills(program) == 0


def test_an_address_may_be_a_port(room: Room) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        program = started(room, f"redis 127.0.0.1:{listener.getsockname()[1]}")
        for _ in range(2 * MISSES):
            room.go(EVERY + 1)
            connection, _ = listener.accept()
            with connection:
                assert connection.recv(64) == b"PING\r\n"
                connection.sendall(b"+PONG\r\n")
                room.go(1)
    assert room.kills(program) == 0


def test_work_is_that_of_a_process_and_its_children() -> None:
    """A shell whose child computes works; one that waits, or is stopped, does not."""
    loop = "i=0; while :; do i=$((i+1)); done"
    with (
        subprocess.Popen(["sh", "-c", f"sh -c '{loop}' & wait"], start_new_session=True) as busy,
        subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as idle,
    ):
        assert idle.stdin is not None
        assert idle.stdout is not None
        try:
            wait_until("work of the child", lambda: work_of(busy.pid) > 0.3, 60)
            os.killpg(busy.pid, signal.SIGSTOP)
            wait_until("stop", lambda: all(map(_is_stopped, children_of(busy.pid))), 60)
            idle.stdin.write(b"x")
            idle.stdin.flush()
            idle.stdout.read(1)
            before = work_of(idle.pid), work_of(busy.pid)
            subprocess.run(["sleep", "1"], check=True)
            after = work_of(idle.pid), work_of(busy.pid)
            assert after == pytest.approx(before, abs=BUSY_SHARE)
        finally:
            os.killpg(busy.pid, signal.SIGKILL)
            idle.kill()
    assert work_of(idle.pid) == 0.0


def _is_stopped(pid: int) -> bool:
    return "State:\tT" in Path(f"/proc/{pid}/status").read_text()
