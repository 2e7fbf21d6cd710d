"""A lock of a supervisor that is no more is waited for; one of a living supervisor is not."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ganglion.data.owned_lock import PROGRAMS_END_WITHIN, identity, take


@contextmanager
def opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Time:
    """A clock that sleeping moves on. `asleep` are the calls to make while it sleeps."""

    def __init__(self, *asleep: object) -> None:
        self.now = 0.0
        self.asleep = list(asleep)

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.asleep:
            os.close(int(str(self.asleep.pop())))


def ended_process() -> str:
    """Return the identity of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        found = identity(process.pid)
    assert found.startswith(f"{process.pid} ")
    assert identity(process.pid) == ""
    return found


def test_it_names_the_process_that_took_it(tmp_path: Path) -> None:
    with opened(tmp_path / "lock") as held:
        os.write(held, b"x" * 50)
        assert take(held)
        assert (tmp_path / "lock").read_text() == identity(os.getpid())


@pytest.mark.parametrize("owner", ["this process", "", "12 ", "someone", "-1 5", "\udcff", "²"])
def test_the_lock_of_a_living_owner_is_refused_at_once(tmp_path: Path, owner: str) -> None:
    time = Time()
    with opened(tmp_path / "lock") as other, opened(tmp_path / "lock") as held:
        assert take(other)
        if owner != "this process":
            (tmp_path / "lock").write_text(owner, errors="surrogateescape")
        expected = owner == "12 "
        assert not take(held, time.clock, time.sleep)
        assert (time.now >= PROGRAMS_END_WITHIN) is expected


def test_the_programs_of_a_dead_owner_are_waited_for(tmp_path: Path) -> None:
    with opened(tmp_path / "lock") as held:
        program = os.open(tmp_path / "lock", os.O_RDWR)
        assert take(program)
        (tmp_path / "lock").write_text(ended_process())
        time = Time(program)
        assert take(held, time.clock, time.sleep)
        assert 0 < time.now < 1
        assert (tmp_path / "lock").read_text() == identity(os.getpid())


def test_a_program_that_does_not_end_is_not_waited_for_without_end(tmp_path: Path) -> None:
    time = Time()
    with opened(tmp_path / "lock") as other, opened(tmp_path / "lock") as held:
        assert take(other)
        (tmp_path / "lock").write_text(ended_process())
        assert not take(held, time.clock, time.sleep)
        assert PROGRAMS_END_WITHIN <= time.now < PROGRAMS_END_WITHIN + 1
