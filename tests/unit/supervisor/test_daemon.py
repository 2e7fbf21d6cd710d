"""The main loop: a program that keeps failing ends the server, and signals end the wait."""

import os
import select
import signal

from supervisor import events
from supervisor.states import ProcessStates, SupervisorStates

from ganglion.supervisor.daemon import Daemon
from ganglion.supervisor.start_times import Timeline
from ganglion.supervisor.wakeup import Waker
from tests.fake_supervisor import FakeOptions


def test_a_program_that_keeps_failing_ends_the_server_with_an_error(options: FakeOptions) -> None:
    daemon = Daemon(options, Timeline())
    main = options.program("main")
    daemon._on_fatal(events.ProcessStateFatalEvent(main, ProcessStates.BACKOFF))
    assert (options.exit_status, options.mood) == (1, SupervisorStates.SHUTDOWN)
    (line,) = options.logger.lines
    assert line == (
        "main keeps failing, so all programs are stopped now. Find the cause in the last lines of"
        " main above, correct it and start the server again"
    )


def test_a_program_that_is_given_up_while_the_server_stops_is_no_error(
    options: FakeOptions,
) -> None:
    options.mood = SupervisorStates.SHUTDOWN
    event = events.ProcessStateFatalEvent(options.program("main"), ProcessStates.BACKOFF)
    Daemon(options, Timeline())._on_fatal(event)
    assert options.exit_status == 0


def test_a_helper_that_was_started_again_works_or_stops_the_server(options: FakeOptions) -> None:
    daemon = Daemon(options, Timeline())
    daemon._on_line("held")
    assert (options.logger.lines, options.mood) == ([], SupervisorStates.RUNNING)
    daemon._on_line("log the database is locked again")
    assert options.logger.lines == ["the database is locked again"]
    daemon._on_line("stop another server uses it, at 127.0.0.1")
    assert (options.exit_status, options.mood) == (1, SupervisorStates.SHUTDOWN)
    assert options.logger.lines[-1].endswith("another server uses it, at 127.0.0.1")


def test_a_signal_ends_the_wait() -> None:
    before = signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
    waker = Waker()
    try:
        poller = select.poll()
        poller.register(waker.fileno(), select.POLLIN)
        assert poller.poll(0) == []
        os.kill(os.getpid(), signal.SIGUSR1)
        # Without a limit of its own: pytest's timeout ends a wait that a signal does not end.
        assert len(poller.poll()) == 1
        waker.handle_read_event()
        assert poller.poll(0) == []
    finally:
        waker.close()
        signal.signal(signal.SIGUSR1, before)
