"""Sockets that the supervisor owns: opened, handed over, given up."""

import contextlib
import os
import signal
import socket
import stat
import threading
from pathlib import Path

import pytest

from ganglion.in_synapse.listening import has_ended
from ganglion.supervisor.addresses import destination
from ganglion.supervisor.listening_sockets import ListeningSockets, close_all
from ganglion.supervisor.program import LONGER, MOST_FAILURES, SOON
from tests.fake_supervisor import FakeOptions, end, run, state, wait
from tests.raw_http import refuses

OTHERS = 300


def connect(path: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect(str(path))
    return connection


def test_what_an_earlier_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "main.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    Path(f"{path}.lock").symlink_to("1")
    sockets = ListeningSockets([f"unix:{path}"])
    sockets.open()
    assert not refuses(path)
    assert not Path(f"{path}.lock").is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    sockets.close()


def test_all_are_opened_or_none(tmp_path: Path) -> None:
    path = tmp_path / "main.sock"
    sockets = ListeningSockets([f"unix:{path}", f"unix:{tmp_path}/absent/main.sock"])
    with pytest.raises(OSError, match="No such file"):
        sockets.open()
    assert sockets.descriptors == {}
    assert refuses(path)


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("[::1]", socket.AF_INET6)]
)
def test_a_port_is_taken_once(host: str, family: socket.AddressFamily) -> None:
    with socket.socket(family) as taken:
        taken.bind((host.strip("[]"), 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match="in use"):
            ListeningSockets([f"{host}:{port}"]).open()
    sockets = ListeningSockets([f"{host}:{port}"])
    sockets.open()
    assert set(sockets.descriptors) == {f"{host}:{port}"}
    sockets.give_up()
    assert sockets.descriptors == {}


def test_a_socket_that_is_given_up_has_ended_for_its_heirs_and_clients(tmp_path: Path) -> None:
    path = tmp_path / "main.sock"
    sockets = ListeningSockets([f"unix:{path}"])
    sockets.open()
    inherited = os.dup(sockets.descriptors[f"unix:{path}"])
    waiting = connect(path)
    assert not has_ended(inherited)
    sockets.give_up()
    assert b"X-Accel-Redirect: @given_back" in waiting.recv(1000)
    assert waiting.recv(1) == b""
    assert has_ended(inherited)
    assert refuses(path)
    os.close(inherited)
    waiting.close()


@pytest.mark.parametrize(
    ("address", "family", "where"),
    [
        ("unix:/run/main.sock", socket.AF_UNIX, "/run/main.sock"),
        ("/run/main.sock", socket.AF_UNIX, "/run/main.sock"),
        ("127.0.0.1:8008", socket.AF_INET, ("127.0.0.1", 8008)),
        ("[::1]:8008", socket.AF_INET6, ("::1", 8008)),
        ("::1:8008", socket.AF_INET6, ("::1", 8008)),
    ],
)
def test_each_spelling_of_an_address(address: str, family: int, where: object) -> None:
    assert destination(address) == (family, where)


def test_a_child_keeps_its_own_sockets_alone(tmp_path: Path) -> None:
    made = [ListeningSockets([f"unix:{tmp_path}/{name}.sock"]) for name in ("main", "other")]
    for each in made:
        each.open()
    own = frozenset(made[0].descriptors.values())
    close_all(own)
    assert not refuses(tmp_path / "main.sock")
    assert refuses(tmp_path / "other.sock")
    close_all()
    assert refuses(tmp_path / "main.sock")


def test_connections_wait_for_a_process_that_comes_back(
    options: FakeOptions, tmp_path: Path
) -> None:
    path = tmp_path / "main.sock"
    main = options.program("main", listens=f"unix:{path}")
    run(main)
    assert not refuses(path)
    end(main)
    assert (state(main), refuses(path)) == ("EXITED", False)
    waiting = connect(path)
    main.transition()
    waiting.setblocking(False)
    with pytest.raises(BlockingIOError):
        waiting.recv(1)
    waiting.close()


def test_a_second_early_end_gives_the_socket_up(options: FakeOptions, tmp_path: Path) -> None:
    path = tmp_path / "worker.sock"
    worker = options.program("worker", listens=f"unix:{path}")
    run(worker)
    end(worker)
    run(worker)
    end(worker)
    assert refuses(path)
    wait(worker, 1.0)
    assert (state(worker), refuses(path)) == ("STARTING", False)


def test_a_failed_start_gives_the_socket_up(options: FakeOptions, tmp_path: Path) -> None:
    path = tmp_path / "worker.sock"
    worker = options.program("worker", listens=f"unix:{path}")
    run(worker)
    end(worker)
    worker.transition()
    end(worker)
    assert (state(worker), refuses(path)) == ("BACKOFF", True)


def test_a_restart_on_purpose_is_waited_for_longer(options: FakeOptions, tmp_path: Path) -> None:
    """A busy machine takes seconds for it. Not for ever, and not for an end that comes later."""
    path = tmp_path / "worker.sock"
    worker = options.program("worker", listens=f"unix:{path}")
    for _ in range(2):
        worker.transition()
        wait(worker, 2 * SOON)
        worker.mark_ready()
        worker.restart()
        end(worker, signal.SIGTERM)
        assert not refuses(path)
    worker.transition()
    wait(worker, 2 * SOON)
    assert (state(worker), refuses(path)) == ("STARTING", False)
    wait(worker, LONGER)
    assert refuses(path)
    worker.mark_ready()
    end(worker)
    assert refuses(path)


def test_the_only_one_of_its_kind_is_waited_for_longer(
    options: FakeOptions, tmp_path: Path
) -> None:
    """Its requests would only fail elsewhere. A busy machine takes seconds to start it."""
    path = tmp_path / "writer.sock"
    writer = options.program("writer", listens=f"unix:{path}", alone=True)
    for _ in range(2):
        writer.transition()
        wait(writer, 2 * SOON)
        writer.mark_ready()
        end(writer)
        assert not refuses(path)
    # It waits before its third start, of which the first attempt fails.
    wait(writer, 1.0)
    end(writer)
    assert (state(writer), refuses(path)) == ("BACKOFF", False)
    wait(writer, 2 * SOON)
    wait(writer, LONGER + 1)
    assert (state(writer), refuses(path)) == ("STARTING", True)


def test_the_only_one_of_its_kind_refuses_while_it_keeps_failing(
    options: FakeOptions, tmp_path: Path
) -> None:
    path = tmp_path / "writer.sock"
    writer = options.program("writer", listens=f"unix:{path}", alone=True)
    seen = []
    for _ in range(MOST_FAILURES + 1):
        wait(writer, MOST_FAILURES)
        run(writer)
        end(writer)
        seen.append(refuses(path))
    assert seen == [False] * MOST_FAILURES + [True]


@pytest.mark.parametrize("name", ["main", "nginx"])
def test_one_that_nobody_replaces_is_waited_for_however_often_it_ends(
    options: FakeOptions, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "socket"
    redis, program = (
        options.program("redis"),
        options.program(name, "redis", listens=f"unix:{path}"),
    )
    run(redis)
    run(program)
    end(program)
    run(program)
    end(program)
    assert (state(program), refuses(path)) == ("EXITED", False)
    end(redis)
    wait(program, 100 * SOON)
    assert (state(program), refuses(path)) == ("EXITED", False)
    run(redis)
    program.transition()
    end(program)
    assert (state(program), refuses(path)) == ("BACKOFF", False)


def test_a_request_that_is_given_back_does_not_wait_here_again() -> None:
    """nginx sends it again at once, and gives up after nine times."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    sockets = ListeningSockets([f"127.0.0.1:{port}"])
    sockets.open()
    given_back: list[bytes] = []

    def insist() -> None:
        with contextlib.suppress(OSError):
            while True:
                with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                    connection.send(b"GET / HTTP/1.1\r\n\r\n")
                    asked.set()
                    given_back.append(connection.recv(1000))

    asked = threading.Event()
    client = threading.Thread(target=insist)
    client.start()
    assert asked.wait(10)
    # Others, which take it long enough for the first one to ask again.
    with contextlib.ExitStack() as stack:
        for _ in range(OTHERS):
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        sockets.give_up()
    client.join(10)
    assert not client.is_alive()
    assert [answer[:12] for answer in given_back] == [b"HTTP/1.1 503"]


def test_a_start_that_takes_long_gives_the_socket_up(options: FakeOptions, tmp_path: Path) -> None:
    """Not the first one, before which nobody asks it."""
    path = tmp_path / "worker.sock"
    worker = options.program("worker", listens=f"unix:{path}")
    worker.transition()
    wait(worker, 100 * SOON)
    assert not refuses(path)
    worker.mark_ready()
    # It would take as long again.
    end(worker)
    assert refuses(path)
    worker.transition()
    assert not refuses(path)
    wait(worker, SOON + 1)
    assert (state(worker), refuses(path)) == ("STARTING", True)


@pytest.mark.parametrize("name", ["main", "nginx"])
def test_requests_wait_for_a_program_that_nobody_replaces(
    options: FakeOptions, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "socket"
    program = options.program(name, listens=f"unix:{path}")
    program.transition()
    wait(program, 100 * SOON)
    program.mark_ready()
    end(program)
    wait(program, 0)
    wait(program, 100 * SOON)
    assert (state(program), refuses(path)) == ("STARTING", False)


@pytest.mark.parametrize("listener", ["its own", "none"])
def test_a_program_that_nobody_can_reach_is_replaced(
    options: FakeOptions, tmp_path: Path, listener: str
) -> None:
    """Its sockets were given up just after it had begun to listen at them, or before."""
    path = tmp_path / "worker.sock"
    worker = options.program("worker", listens=f"unix:{path}")
    worker.transition()
    worker.set_late()
    with socket.socket(socket.AF_UNIX) as own:
        if listener == "its own":
            own.bind(str(path))
            own.listen()
        worker.mark_ready()
    killed = (worker.pid, signal.SIGKILL) in options.signals
    assert killed is (listener == "none")


def test_a_program_that_waits_for_others_gives_the_socket_up(
    options: FakeOptions, tmp_path: Path
) -> None:
    path = tmp_path / "worker.sock"
    main, worker = (
        options.program("main"),
        options.program("worker", "main", listens=f"unix:{path}"),
    )
    run(main)
    run(worker)
    end(worker)
    end(main)
    wait(worker, SOON / 2)
    assert not refuses(path)
    wait(worker, SOON)
    assert refuses(path)


@pytest.mark.parametrize("by", ["stop", "hold", "late"])
def test_a_program_that_is_stopped_refuses(options: FakeOptions, tmp_path: Path, by: str) -> None:
    path = tmp_path / "main.sock"
    main = options.program("main", listens=f"unix:{path}")
    run(main)
    if by == "stop":
        main.stop()
    elif by == "hold":
        main.hold(9)
        end(main)
    else:
        main.set_late()
    assert refuses(path)


def test_a_socket_that_cannot_be_opened_is_left_to_the_program(
    options: FakeOptions, tmp_path: Path
) -> None:
    main = options.program("main", listens=f"unix:{tmp_path}/absent/main.sock")
    run(main)
    assert options.logger.lines[0].startswith("no socket for main: ")
