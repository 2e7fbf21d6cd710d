"""Helper processes: their lines, their end, and a new database that must reach the disk first."""

import os
import select
import signal
import time
from pathlib import Path

from ganglion.files.disk import flushing
from ganglion.supervisor.helper import Helper, Tell
from tests.fake_supervisor import FakeOptions, run, state
from tests.harness import wait_until


def speak(tell: Tell) -> None:
    tell("held")
    tell("log two\nlines")
    tell("stop now")
    time.sleep(600)


def test_lines_are_passed_on_one_by_one() -> None:
    helper = Helper("test", speak)
    lines: list[str] = []
    helper.lines = lines.append
    try:
        assert helper.first_line() == "held"
        while len(lines) < 2:
            assert select.select([helper], [], [], 60)[0]
            helper.handle_read_event()
        assert lines == ["log two lines", "stop now"]
        assert helper.readable()
    finally:
        helper.close()
    assert not Path(f"/proc/{helper.pid}").exists()


def test_another_process_follows_one_that_has_ended() -> None:
    helper = Helper("test", speak)
    try:
        assert helper.first_line() == "held"
        first = helper.pid
        os.kill(first, signal.SIGKILL)
        os.waitpid(first, 0)
        while not helper.ended:
            helper.handle_read_event()
        assert not helper.readable()
        helper.restart()
        assert helper.pid != first
        assert helper.first_line() == "held"
    finally:
        helper.close()


def test_a_helper_that_fails_at_once_has_no_first_line() -> None:
    helper = Helper("test", lambda _: None)
    assert helper.first_line() == ""
    helper.close()


def test_nginx_waits_until_a_new_database_is_on_the_disk(options: FakeOptions) -> None:
    options.durable = lambda: False
    nginx, redis = options.program("nginx"), options.program("redis")
    nginx.transition()
    run(redis)
    assert state(nginx) == "STOPPED"
    options.durable = lambda: True
    run(nginx)


def test_the_disk_is_waited_for(tmp_path: Path) -> None:
    wait_until("the disk", flushing(tmp_path), 60)
