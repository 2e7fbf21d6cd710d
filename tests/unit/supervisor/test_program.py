"""Programs: waiting for others, readiness, restarts and counted failures."""

import os
import signal
import subprocess
from pathlib import Path

from ganglion.supervisor.fork.configuration import with_contents
from ganglion.supervisor.program import MOST_FAILURES, STABLE
from tests.fake_supervisor import RETRIES, FakeOptions, end, run, state, wait


def test_a_program_waits_for_all_its_needs(options: FakeOptions) -> None:
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


def test_a_restart_waits_for_the_needs_again(options: FakeOptions) -> None:
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


def test_a_program_is_starting_until_it_reports_readiness(options: FakeOptions) -> None:
    """A database's migrations may take hours."""
    main = options.program("main")
    main.transition()
    wait(main, 24 * 3600)
    assert (state(main), main.ready) == ("STARTING", False)
    main.mark_ready()
    assert (state(main), main.ready) == ("RUNNING", True)
    assert options.logger.lines[-1] == "main is ready after 86400.0 s"


def test_a_ready_line_reports_readiness(options: FakeOptions) -> None:
    nginx = options.program("nginx", ready_line="start worker processes")
    nginx.transition()
    wait(nginx, 24 * 3600)
    for line, ready in (("using epoll", False), ("notice: start worker processes", True)):
        os.write(options.ends["child_stdout"], f"{line}\n".encode())
        (output,) = (item for item in nginx.dispatchers.values() if item.readable())
        output.handle_read_event()
        assert nginx.ready is ready
    assert state(nginx) == "RUNNING"


def test_only_a_starting_program_becomes_ready(options: FakeOptions) -> None:
    """A late message from a program that has ended or is stopping is ignored."""
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


def test_a_program_that_ends_before_it_is_ready_is_given_up_after_retries(
    options: FakeOptions,
) -> None:
    main = options.program("main")
    main.transition()
    for attempt in range(1, RETRIES + 2):
        end(main)
        assert (state(main), main.backoff) == ("BACKOFF", attempt)
        # supervisord waits a second longer before each attempt.
        wait(main, attempt - 0.5)
        assert state(main) == ("FATAL" if attempt > RETRIES else "BACKOFF")
        if attempt <= RETRIES:
            wait(main, 1)
            assert state(main) == "STARTING"


def test_the_first_restart_is_immediate_and_later_ones_wait(options: FakeOptions) -> None:
    main = options.program("main")
    run(main)
    end(main)
    run(main)
    end(main)
    main.transition()
    assert (state(main), main.failures) == ("EXITED", 2)
    wait(main, 1)
    assert state(main) == "STARTING"


def test_a_program_that_keeps_failing_is_given_up(options: FakeOptions) -> None:
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
    # Nothing starts it again.
    wait(main, 3600)
    assert state(main) == "FATAL"


def test_an_end_after_a_stable_time_is_no_failure(options: FakeOptions) -> None:
    main = options.program("main")
    for _ in range(3 * MOST_FAILURES):
        run(main)
        wait(main, STABLE + 1)
        end(main)
        assert (state(main), main.failures) == ("EXITED", 0)


def test_only_failures_in_a_row_are_counted(options: FakeOptions) -> None:
    main = options.program("main")
    for lasted, failures in ((1, 1), (1, 2), (STABLE + 1, 0), (1, 1)):
        main.not_before = 0
        run(main)
        wait(main, lasted)
        end(main)
        assert main.failures == failures


def test_time_before_readiness_is_not_stable_time(options: FakeOptions) -> None:
    main = options.program("main")
    main.transition()
    wait(main, 3600)
    main.mark_ready()
    end(main)
    assert main.failures == 1


def test_a_stop_is_no_failure(options: FakeOptions) -> None:
    main = options.program("main")
    for _ in range(3 * MOST_FAILURES):
        main.spawn()
        main.mark_ready()
        main.stop()
        end(main, signal.SIGTERM)
        assert (state(main), main.failures) == ("STOPPED", 0)


def test_a_program_that_a_signal_from_outside_ended_restarts(options: FakeOptions) -> None:
    main = options.program("main")
    run(main)
    end(main, signal.SIGTERM)
    assert state(main) == "EXITED"
    main.transition()
    assert state(main) == "STARTING"


def test_a_forked_program_waits_for_the_preload(options: FakeOptions) -> None:
    options.prefork = True
    worker = options.program("worker")
    worker.config.command = "python -m synapse.app.generic_worker --config-path a.yaml"
    assert worker.config.forked
    worker.transition()
    assert state(worker) == "STOPPED"
    options.preloaded = True
    worker.transition()
    assert state(worker) == "STARTING"


def test_only_synapse_processes_are_forked(options: FakeOptions) -> None:
    options.prefork = True
    program = options.program("redis")
    assert not program.config.forked
    program.transition()
    assert state(program) == "STARTING"


def test_a_held_program_does_not_start_until_it_is_released(options: FakeOptions) -> None:
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


def test_a_program_that_waits_for_its_restart_can_be_held(options: FakeOptions) -> None:
    main = options.program("main")
    for _ in range(2):
        run(main)
        end(main)
    assert (state(main), main.not_before) == ("EXITED", options.clock() + 1)
    main.hold(signal.SIGKILL)
    main.transition()
    assert state(main) == "STOPPED"
    main.release()
    # It starts at once: earlier failures are forgotten.
    run(main)
    assert main.failures == 0


def test_a_kill_on_purpose_is_no_failure(options: FakeOptions) -> None:
    main = options.program("main")
    for _ in range(MOST_FAILURES + 3):
        run(main)
        main.kill_on_purpose()
        end(main, signal.SIGKILL)
        assert state(main) == "EXITED"
    run(main)
    # The next end is a failure again.
    end(main)
    assert main.failures == 1


def test_a_paused_program_is_continued_when_it_is_stopped(options: FakeOptions) -> None:
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


def test_a_process_that_does_not_start_gets_the_configuration_it_had(
    options: FakeOptions, tmp_path: Path
) -> None:
    """Once. It keeps that one until it is restarted on purpose."""
    file = tmp_path / "homeserver.yaml"
    file.write_bytes(b"right")
    main = options.program("main")
    paths = f"--config-path {file} --config-path {tmp_path}/rendered.yaml"
    main.config.command = f"python -m synapse.app.homeserver {paths}"
    main.transition()
    end(main)
    # It had none before.
    assert (state(main), main.goes_back) == ("BACKOFF", False)
    wait(main, 5)
    main.mark_ready()
    file.write_bytes(b"wrong")
    main.restart()
    end(main, signal.SIGTERM)
    main.transition()
    assert main.may_go_back
    end(main)
    assert "so it gets the one that it had before" in options.logger.lines[-1]
    main.transition()
    assert (state(main), main.goes_back, main.may_go_back) == ("STARTING", True, False)
    assert main.used == {str(file): b"right"}
    main.mark_ready()
    end(main)
    main.transition()
    assert (state(main), main.goes_back) == ("STARTING", True)
    main.mark_ready()
    main.restart()
    end(main, signal.SIGTERM)
    main.transition()
    assert (main.tried, main.goes_back) == ({str(file): b"wrong"}, False)
    main.mark_ready()
    assert main.used == {str(file): b"wrong"}


def test_after_a_change_of_the_layout_no_process_goes_back_to_its_list(
    options: FakeOptions, tmp_path: Path
) -> None:
    """Beside others with the new list of writers, it would corrupt the database."""
    main = options.program("main")
    main.used, main.tried = {str(tmp_path): b"old"}, {str(tmp_path): b"new"}
    assert main.may_go_back
    main.forget_configuration()
    assert not main.may_go_back
    assert main.used is None


def test_sockets_are_kept_however_long_a_change_takes(options: FakeOptions, tmp_path: Path) -> None:
    reader = options.program("reader", listens=f"unix:{tmp_path}/reader")
    run(reader)
    reader.keeps_sockets = True
    reader.hold(signal.SIGTERM)
    end(reader, signal.SIGTERM)
    wait(reader, 60)
    assert reader.sockets.descriptors
    reader.withdraw()
    assert not reader.sockets.descriptors


def test_nginx_is_hurried_when_it_finishes_requests_for_long(options: FakeOptions) -> None:
    nginx = options.program("nginx")
    run(nginx)
    pid = nginx.pid
    nginx.stop()
    wait(nginx, 0.5)
    # The stop itself: a program's signal is SIGTERM here.
    assert options.signals.count((pid, signal.SIGTERM)) == 1
    wait(nginx, 0.6)
    assert options.signals.count((pid, signal.SIGTERM)) == 2


def test_a_configuration_in_memory_is_read_like_a_file() -> None:
    """As often as it is wanted, and by a program that this one executes."""
    command = ["python", "--config-path", "/a.yaml", "--config-path", "/c.yaml"]
    given = with_contents(command, {"/a.yaml": b"a: 1"})
    assert [*given[:2], *given[3:]] == ["python", "--config-path", "--config-path", "/c.yaml"]
    assert Path(given[2]).read_bytes() == Path(given[2]).read_bytes() == b"a: 1"
    read = subprocess.run(["cat", given[2]], close_fds=False, capture_output=True, check=True)
    assert read.stdout == b"a: 1"
    os.close(int(Path(given[2]).name))
