"""The supervisor: who waits for whom, who has failed, whose word is taken, and whole lines."""

import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from supervisor import events
from supervisor.options import UnhosedConfigParser
from supervisor.states import ProcessStates, SupervisorStates, getProcessStateDescription

from ganglion.supervisor.command_socket import ControlSocket
from ganglion.supervisor.daemon import Daemon, Options
from ganglion.supervisor.notify_socket import ReadinessSocket
from ganglion.supervisor.output import LONGEST_LINE
from ganglion.supervisor.program import MOST_FAILURES, STABLE, GatedProcess
from ganglion.supervisor.start_times import Timeline
from ganglion.supervisor.wakeup import Waker

FAILED = 1 << 8  # the wait status of a process that ended with 1
RETRIES = 4


class Log:
    """A logger that remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def log(self, message: str, **_: object) -> None:
        self.lines.append(message)

    trace = debug = info = warn = critical = log


class FakeOptions(Options):
    """supervisord's options, with real pipes but no processes behind them."""

    def __init__(self) -> None:
        super().__init__("/nowhere", prefork=False)
        self.logger: Any = Log()
        self.loglevel = 20
        self.pids = count(1000)
        self.signals: list[tuple[int, int]] = []
        self.ends: dict[str, int] = {}

    def program(self, name: str, needs: str = "", *, ready_line: str = "") -> GatedProcess:
        """A program as its section in supervisord.conf would make it."""
        parser = UnhosedConfigParser()
        parser.read_string(
            f"[program:{name}]\ncommand = /bin/{name}\nautorestart = true\n"
            f"startretries = {RETRIES}\nredirect_stderr = true\nstdout_logfile = NONE\n"
            f'environment = GANGLION_NEEDS="{needs}",'
            f'GANGLION_READY_LINE="{ready_line}"\n'
        )
        (config,) = self.processes_from_section(parser, f"program:{name}", name)
        made: GatedProcess = config.make_process()
        return made

    def fork(self) -> int:
        return next(self.pids)

    def kill(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))

    def check_execv_args(self, filename: str, argv: list[str], st: object) -> None:
        """There is no such program, and none is started."""

    def close_child_pipes(self, pipes: dict[str, int]) -> None:
        """We are the child too: what a test writes into `ends` comes out of the pipe."""
        self.ends = dict(pipes)


@pytest.fixture
def options() -> Iterator[FakeOptions]:
    yield FakeOptions()
    events.clear()


def state(program: GatedProcess) -> str:
    return str(getProcessStateDescription(program.state))


def wait(program: GatedProcess, seconds: float) -> None:
    """Let a program have been as it is for that much longer, and supervisord look at it."""
    program.laststart -= seconds
    program.not_before -= seconds
    program.delay -= seconds  # type: ignore[assignment]  # an integer at first, then a time
    if program.ready_since is not None:
        program.ready_since -= seconds
    program.transition()


def run(program: GatedProcess) -> None:
    """Start a program and let it be ready."""
    program.transition()
    program.mark_ready()
    assert state(program) == "RUNNING"


def end(program: GatedProcess, status: int = FAILED) -> None:
    """Let a program end by itself."""
    if "child_stdout" in program.config.options.ends:
        os.close(program.config.options.ends.pop("child_stdout"))
        os.close(program.config.options.ends.pop("child_stdin"))
    program.finish(program.pid, status)


def test_a_program_waits_for_all_that_it_needs(options: FakeOptions) -> None:
    postgres, redis = options.program("postgres"), options.program("redis")
    main = options.program("main", "postgres redis")
    main.transition()
    assert (state(main), main.laststart) == ("STOPPED", 0)
    run(postgres)
    main.transition()
    redis.transition()
    main.transition()
    assert (state(redis), state(main)) == ("STARTING", "STOPPED")
    redis.mark_ready()
    main.transition()
    assert state(main) == "STARTING"
    assert not main.ready


def test_it_waits_again_after_its_own_end(options: FakeOptions) -> None:
    main, worker = options.program("main"), options.program("worker", "main")
    run(main)
    run(worker)
    end(worker)
    end(main)
    worker.transition()
    assert (state(main), state(worker)) == ("EXITED", "EXITED")
    run(main)
    worker.transition()
    assert state(worker) == "STARTING"


def test_a_program_that_notifies_is_starting_until_it_says_otherwise(options: FakeOptions) -> None:
    """Migrations of a database may take hours."""
    main = options.program("main")
    main.transition()
    wait(main, 24 * 3600)
    assert (state(main), main.ready) == ("STARTING", False)
    main.mark_ready()
    assert (state(main), main.ready) == ("RUNNING", True)
    assert options.logger.lines[-1] == "main is ready after 86400.0 s"


def test_a_program_is_ready_with_the_line_that_says_so(options: FakeOptions) -> None:
    nginx = options.program("nginx", ready_line="start worker processes")
    nginx.transition()
    wait(nginx, 24 * 3600)
    for line, ready in (("using epoll", False), ("notice: start worker processes", True)):
        os.write(options.ends["child_stdout"], f"{line}\n".encode())
        (output,) = (item for item in nginx.dispatchers.values() if item.readable())
        output.handle_read_event()
        assert nginx.ready is ready
    assert state(nginx) == "RUNNING"


def test_only_a_program_that_starts_becomes_ready(options: FakeOptions) -> None:
    """A late message of one that has ended, or is stopping, says nothing."""
    main = options.program("main")
    main.mark_ready()
    assert (state(main), main.ready) == ("STOPPED", False)
    main.transition()
    main.stop()
    main.mark_ready()
    assert (state(main), main.ready) == ("STOPPING", False)
    assert options.signals == [(main.pid, signal.SIGTERM)]


def test_a_program_is_not_ready_after_its_end(options: FakeOptions) -> None:
    main = options.program("main")
    run(main)
    end(main)
    assert not main.ready


def test_a_program_that_ends_before_it_is_ready_is_given_up_in_the_end(
    options: FakeOptions,
) -> None:
    main = options.program("main")
    main.transition()
    for attempt in range(1, RETRIES + 2):
        end(main)
        assert (state(main), main.backoff) == ("BACKOFF", attempt)
        # supervisord leaves a second more before each attempt.
        wait(main, attempt - 0.5)
        assert state(main) == ("FATAL" if attempt > RETRIES else "BACKOFF")
        if attempt <= RETRIES:
            wait(main, 1)
            assert state(main) == "STARTING"


def test_the_first_restart_is_immediate_and_later_ones_are_not(options: FakeOptions) -> None:
    main = options.program("main")
    run(main)
    end(main)
    run(main)
    end(main)
    main.transition()
    assert (state(main), main.failures) == ("EXITED", 2)
    wait(main, 1)
    assert state(main) == "STARTING"


def test_a_program_that_never_stays_up_is_given_up_in_the_end(options: FakeOptions) -> None:
    main = options.program("main")
    for failures in range(1, MOST_FAILURES + 1):
        main.not_before = 0
        run(main)
        wait(main, STABLE - 1)
        end(main)
        assert (state(main), main.failures) == ("EXITED", failures)
    main.not_before = 0
    run(main)
    end(main)
    assert state(main) == "FATAL"
    # And nobody starts it again.
    wait(main, 3600)
    assert state(main) == "FATAL"


def test_what_has_run_for_a_while_has_not_failed(options: FakeOptions) -> None:
    main = options.program("main")
    for _ in range(3 * MOST_FAILURES):
        run(main)
        wait(main, STABLE + 1)
        end(main)
        assert (state(main), main.failures) == ("EXITED", 0)


def test_failures_in_a_row_are_counted_not_all(options: FakeOptions) -> None:
    main = options.program("main")
    for lasted, failures in ((1, 1), (1, 2), (STABLE + 1, 0), (1, 1)):
        main.not_before = 0
        run(main)
        wait(main, lasted)
        end(main)
        assert main.failures == failures


def test_time_before_it_was_ready_is_no_time_that_it_ran(options: FakeOptions) -> None:
    main = options.program("main")
    main.transition()
    wait(main, 3600)
    main.mark_ready()
    end(main)
    assert main.failures == 1


def test_what_is_stopped_has_not_failed(options: FakeOptions) -> None:
    main = options.program("main")
    for _ in range(3 * MOST_FAILURES):
        main.spawn()
        main.mark_ready()
        main.stop()
        end(main, signal.SIGTERM)
        assert (state(main), main.failures) == ("STOPPED", 0)


def test_a_program_ended_by_a_signal_from_outside_is_started_again(options: FakeOptions) -> None:
    main = options.program("main")
    run(main)
    end(main, signal.SIGTERM)
    assert state(main) == "EXITED"
    main.transition()
    assert state(main) == "STARTING"


def test_a_program_that_cannot_be_kept_up_ends_everything_with_a_failure(
    options: FakeOptions,
) -> None:
    daemon = Daemon(options, Timeline())
    main = options.program("main")
    daemon._on_fatal(events.ProcessStateFatalEvent(main, ProcessStates.BACKOFF))
    assert (options.exit_status, options.mood) == (1, SupervisorStates.SHUTDOWN)
    assert options.logger.lines == [
        "main cannot be kept up; its last lines above say why. Everything stops now"
    ]


def test_while_everything_stops_nothing_is_a_failure(options: FakeOptions) -> None:
    options.mood = SupervisorStates.SHUTDOWN
    event = events.ProcessStateFatalEvent(options.program("main"), ProcessStates.BACKOFF)
    Daemon(options, Timeline())._on_fatal(event)
    assert options.exit_status == 0


class Output:
    """A started program whose output a test writes."""

    def __init__(self, options: FakeOptions, capture: pytest.CaptureFixture[str]) -> None:
        self.program = options.program("main")
        self.program.transition()
        self.capture = capture
        (self.dispatcher,) = (item for item in self.program.dispatchers.values() if item.readable())

    def write(self, data: bytes) -> str:
        """Let the program write, and return what comes out on our own output."""
        os.write(self.program.config.options.ends["child_stdout"], data)
        self.dispatcher.handle_read_event()
        return self.seen()

    def seen(self) -> str:
        return self.capture.readouterr().out


@pytest.fixture
def output(options: FakeOptions, capfd: pytest.CaptureFixture[str]) -> Output:
    return Output(options, capfd)


def test_every_line_has_the_programs_name_in_front(output: Output) -> None:
    assert output.write(b"one\ntwo\n\n") == "main | one\nmain | two\nmain | \n"


def test_a_line_is_passed_on_when_it_is_whole(output: Output) -> None:
    assert output.write(b"ein ") == ""
    assert output.write("€".encode()[:1]) == ""
    assert output.write("€".encode()[1:] + b"\nand") == "main | ein €\n"
    assert output.write(b"\n") == "main | and\n"


def test_a_line_without_an_end_is_passed_on_in_pieces(output: Output) -> None:
    assert output.write(b"x" * (LONGEST_LINE - 1)) == ""
    assert output.write(b"y") == f"main | {'x' * (LONGEST_LINE - 1)}y\n"
    assert output.write(b"z\n") == "main | z\n"


def test_what_is_no_text_is_passed_on_too(
    options: FakeOptions, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    program = options.program("main")
    program.transition()
    os.write(options.ends["child_stdout"], b"\xff\x00\x1b[31m\r\n")
    program.drain()
    assert capfdbinary.readouterr().out == b"main | \xff\x00\x1b[31m\r\n"


def test_the_last_line_needs_no_end(output: Output) -> None:
    os.write(output.program.config.options.ends["child_stdout"], b"one\nlast words")
    end(output.program)
    assert output.seen() == "main | one\nmain | last words\n"


def test_however_much_a_program_wrote_at_its_end_all_is_passed_on(
    options: FakeOptions, capfd: pytest.CaptureFixture[str]
) -> None:
    """supervisord itself reads 128 KiB at the end of a program, and no more."""
    program = options.program("main")
    program.transition()
    fcntl.fcntl(options.ends["child_stdout"], fcntl.F_SETPIPE_SZ, 2**20)
    numbers = [str(number) for number in range(50_000)]
    text = "\n".join(numbers).encode()
    assert len(text) > 2 * 128 * 1024
    assert os.write(options.ends["child_stdout"], text) == len(text)
    end(program)
    assert capfd.readouterr().out == "".join(f"main | {number}\n" for number in numbers)


@pytest.fixture
def listener(options: FakeOptions, tmp_path: Path) -> Iterator[tuple[ReadinessSocket, str]]:
    """The socket, and its path. Our own process is the program `main`, and nobody else is one."""
    main = options.program("main")
    main.transition()
    path = str(tmp_path / "notify.sock")
    sock = ReadinessSocket(path, {os.getpid(): main}.get)
    yield sock, path
    sock.close()


def tell(path: str, message: bytes) -> None:
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
def test_what_a_program_says(
    options: FakeOptions,
    listener: tuple[ReadinessSocket, str],
    message: bytes,
    expected: bool,  # noqa: FBT001 - a column of the table
) -> None:
    sock, path = listener
    tell(path, message)
    sock.handle_read_event()
    assert ready(options) is expected


def test_only_our_programs_are_believed(
    options: FakeOptions, listener: tuple[ReadinessSocket, str]
) -> None:
    """The kernel says who sent a message; anybody can write what they like into it."""
    sock, path = listener
    script = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n"
        "s.sendto(b'READY=1\\nMAINPID=' + sys.argv[2].encode(), sys.argv[1])\n"
    )
    subprocess.run([sys.executable, "-c", script, path, str(os.getpid())], check=True)
    sock.handle_read_event()
    assert not ready(options)
    tell(path, b"READY=1")
    sock.handle_read_event()
    assert ready(options)


def test_all_messages_that_are_there_are_taken(
    options: FakeOptions, listener: tuple[ReadinessSocket, str]
) -> None:
    sock, path = listener
    for message in (b"STATUS=a", b"STATUS=b", b"READY=1"):
        tell(path, message)
    sock.handle_read_event()
    assert ready(options)
    sock.handle_read_event()


def test_the_socket_of_an_earlier_start_is_replaced(
    options: FakeOptions, listener: tuple[ReadinessSocket, str]
) -> None:
    _, path = listener
    again = ReadinessSocket(path, {os.getpid(): options.programs["main"]}.get)
    tell(path, b"READY=1")
    again.handle_read_event()
    again.close()
    assert ready(options)
    # Other accounts must be able to write to it.
    assert Path(path).stat().st_mode & 0o777 == 0o666


def test_it_is_a_dispatcher_that_is_only_read(listener: tuple[ReadinessSocket, str]) -> None:
    sock, _ = listener
    assert (sock.readable(), sock.writable(), sock.closed) == (True, False, False)
    assert sock.fileno() > 2
    before = time.monotonic()
    sock.handle_read_event()
    assert time.monotonic() - before < 1


def test_what_is_forked_waits_for_what_it_is_forked_from(options: FakeOptions) -> None:
    options.prefork = True
    worker = options.program("worker")
    worker.config.command = "python -m synapse.app.generic_worker --config-path a.yaml"
    assert worker.config.forked
    worker.transition()
    assert state(worker) == "STOPPED"
    options.preloaded = True
    worker.transition()
    assert state(worker) == "STARTING"


def test_what_is_not_synapse_is_never_forked(options: FakeOptions) -> None:
    options.prefork = True
    program = options.program("redis")
    assert not program.config.forked
    program.transition()
    assert state(program) == "STARTING"


def test_a_signal_ends_the_wait() -> None:
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    waker = Waker()
    try:
        poller = select.poll()
        poller.register(waker.fileno(), select.POLLIN)
        assert poller.poll(0) == []
        os.kill(os.getpid(), signal.SIGUSR1)
        assert len(poller.poll(5000)) == 1
        waker.handle_read_event()
        assert poller.poll(0) == []
    finally:
        waker.close()
        signal.signal(signal.SIGUSR1, before)


def test_a_program_that_is_held_does_not_start_and_then_does_as_at_boot(
    options: FakeOptions,
) -> None:
    main = options.program("main")
    run(main)
    pid = main.pid
    main.hold(signal.SIGKILL)
    assert options.signals == [(pid, signal.SIGKILL)]
    end(main, signal.SIGKILL)
    for _ in range(3):
        wait(main, 10)
        assert state(main) == "STOPPED"
    main.release()
    run(main)
    assert main.pid != pid


def test_one_that_is_not_there_can_be_held_too(options: FakeOptions) -> None:
    main = options.program("main")
    for _ in range(2):
        run(main)
        end(main)
    assert (state(main), main.not_before > time.time()) == ("EXITED", True)
    main.hold(signal.SIGKILL)
    main.transition()
    assert state(main) == "STOPPED"
    main.release()
    # It starts at once, whatever it did before.
    run(main)
    assert main.failures == 0


def test_a_kill_on_purpose_is_no_failure(options: FakeOptions) -> None:
    main = options.program("main")
    for _ in range(MOST_FAILURES + 3):
        run(main)
        main.kill_blameless()
        end(main, signal.SIGKILL)
        assert state(main) == "EXITED"
    run(main)
    # The next is one of its own again.
    end(main)
    assert main.failures == 1


def test_a_paused_program_hears_that_it_is_to_stop(options: FakeOptions) -> None:
    main = options.program("main")
    run(main)
    main.pause()
    main.stop()
    assert [number for _, number in options.signals] == [
        signal.SIGSTOP,
        signal.SIGTERM,
        signal.SIGCONT,
    ]
    end(main, 0)
    main.release()
    run(main)
    options.signals.clear()
    main.stop()
    assert [number for _, number in options.signals] == [signal.SIGTERM]


@pytest.fixture
def controls(options: FakeOptions, tmp_path: Path) -> Iterator[ControlSocket]:
    """The socket, for which two programs are Synapse's and one is not."""
    for name, app in (("main", "homeserver"), ("reader1", "generic_worker")):
        options.program(name).config.command = f"python -m synapse.app.{app}"
    options.program("redis")
    made = ControlSocket(str(tmp_path / "socket"), options.programs)
    events.subscribe(events.ProcessStateEvent, made.look)
    yield made
    made.close()


def told(controls: ControlSocket, tmp_path: Path, **request: object) -> socket.socket:
    """A connection over which something was asked for, which was taken in."""
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(tmp_path / "socket"))
    client.sendall(json.dumps(request).encode() + b"\n")
    controls.handle_read_event()
    for conversation in controls.dispatchers[1:]:
        conversation.handle_read_event()
    client.setblocking(False)
    return client


def answer(client: socket.socket) -> object:
    """What came, or None."""
    try:
        return json.loads(client.recv(4096))
    except BlockingIOError:
        return None


def test_who_holds_is_answered_when_all_have_ended(
    options: FakeOptions, controls: ControlSocket, tmp_path: Path
) -> None:
    main, reader = options.programs["main"], options.programs["reader1"]
    for program in (main, reader):
        run(program)
    names = ["main", "reader1"]
    assert (tmp_path / "socket").stat().st_mode & 0o777 == 0o600
    with told(controls, tmp_path, do="hold", names=names, signal="KILL") as client:
        end(main, signal.SIGKILL)
        assert answer(client) is None
        end(reader, signal.SIGKILL)
        assert answer(client) == {}
    with told(controls, tmp_path, do="release", names=names) as client:
        run(reader)
        assert answer(client) is None
        run(main)
        assert answer(client) == {}
    with told(controls, tmp_path, do="kill", names=["main"]) as client:
        assert answer(client) is None
        end(main, signal.SIGKILL)
        assert answer(client) == {}


def test_what_cannot_be_held_is_said(
    options: FakeOptions, controls: ControlSocket, tmp_path: Path
) -> None:
    with told(controls, tmp_path, do="hold", names=["redis"], signal="KILL") as client:
        assert answer(client) == {"error": "only processes of Synapse can be controlled"}
    for verb, why in (("pause", "does not run"), ("kill", "is not ready")):
        with told(controls, tmp_path, do=verb, names=["main"]) as client:
            assert answer(client) == {"error": f"main {why} at the moment"}
    assert options.signals == []
    run(options.programs["main"])
    with told(controls, tmp_path, do="pause", names=["main"]) as client:
        assert answer(client) == {}
    assert [number for _, number in options.signals] == [signal.SIGSTOP]


def test_whoever_goes_away_is_forgotten(controls: ControlSocket, tmp_path: Path) -> None:
    told(controls, tmp_path, do="release", names=["main"]).close()
    (conversation,) = controls.dispatchers[1:]
    conversation.handle_read_event()
    assert not conversation.readable()
    assert controls.dispatchers == (controls,)
