"""Errands: work now and then, by a process that is there only meanwhile."""

import os
import select
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ganglion.supervisor.errand import Errand
from ganglion.supervisor.helper import Tell, Work


class Fixture:
    """An errand with a clock that stands still, and the lines and failures that it reports."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lines: list[str] = []
        self.failures: list[str] = []
        self.errand: Errand | None = None

    def begin(self, work: Work) -> Errand:
        """Make an errand that is due after 60 s, may take 100 s, and is tried again after 10 s."""
        self.errand = Errand(
            "test",
            work,
            wait=60,
            longest=100,
            retry=10,
            failed=self.failures.append,
            clock=lambda: self.now,
        )
        self.errand.lines = self.lines.append
        return self.errand

    def look(self, seconds: float = 0) -> bool:
        """Let time pass. Returns whether a process works afterwards."""
        assert self.errand is not None
        self.now += seconds
        self.errand.look(self.lines.append)
        return not self.errand.ended

    def finish(self) -> None:
        """Heed everything until its process ends."""
        assert self.errand is not None
        while not self.errand.ended:
            assert select.select([self.errand], [], [], 60)[0]
            self.errand.handle_read_event()


@pytest.fixture
def fixture() -> Iterator[Fixture]:
    made = Fixture()
    yield made
    if made.errand is not None:
        made.errand.close()


def speak(tell: Tell) -> None:
    tell("info done")
    tell("pause 500")


def test_it_works_when_it_is_due_and_again_after_its_pause(fixture: Fixture) -> None:
    fixture.begin(speak)
    assert not fixture.look(59)
    for seconds in (1, 500, 500):
        assert not fixture.look(seconds - 0.5)
        assert fixture.look(0.5)
        fixture.finish()
    assert fixture.lines == ["info done"] * 3
    assert fixture.failures == []


def test_there_is_no_process_in_between(fixture: Fixture) -> None:
    errand = fixture.begin(speak)
    assert errand.pid == 0
    assert not errand.readable()
    fixture.look(60)
    pid = errand.pid
    fixture.finish()
    assert not Path(f"/proc/{pid}").exists()
    assert errand.pid == 0
    errand.close()


def fail(_: Tell) -> None:
    raise ValueError("expected in this test")


def end(_: Tell) -> None:
    os._exit(7)


def kill(_: Tell) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize("work", [fail, end, kill])
def test_an_end_without_a_result_is_a_failure(
    fixture: Fixture, work: Callable[[Tell], None]
) -> None:
    fixture.begin(work)
    fixture.look(60)
    fixture.finish()
    reason = "its process ended without a result"
    assert fixture.failures == [reason]
    assert fixture.lines == [f"log the work of the test failed: {reason}"]
    assert not fixture.look(9)
    assert fixture.look(1)


def hang(_: Tell) -> None:
    while True:
        signal.pause()


def test_work_that_takes_too_long_is_ended(fixture: Fixture) -> None:
    fixture.begin(hang)
    assert fixture.look(60)
    assert fixture.look(99)
    assert fixture.look(1)
    fixture.finish()
    assert fixture.failures == ["it took more than 100 s and was ended"]


def test_the_process_ends_with_its_owner(fixture: Fixture) -> None:
    errand = fixture.begin(hang)
    fixture.look(60)
    pid = errand.pid
    errand.close()
    assert not Path(f"/proc/{pid}").exists()


def test_it_holds_none_of_the_supervisors_descriptors(fixture: Fixture) -> None:
    """A client of the supervisor that waits for the end of its connection would wait for it."""
    reader, writer = os.pipe()
    fixture.begin(hang)
    fixture.look(60)
    os.close(writer)
    try:
        assert select.select([reader], [], [], 60)[0]
        assert os.read(reader, 1) == b""
    finally:
        os.close(reader)
