"""The processes that a killed PostgreSQL leaves have ended before the next one starts."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ganglion.supervisor.orphans import LONGEST, wait_for_orphans


@contextmanager
def orphan(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of a PostgreSQL that works in a directory."""
    program = directory.parent / "postgres"
    shutil.copy("/usr/bin/sleep", program)
    with subprocess.Popen([program, "1000"], cwd=directory) as process:
        yield process
        process.kill()


def test_it_waits_for_the_end_of_processes_in_the_directory(tmp_path: Path) -> None:
    """By whatever path the directory is named."""
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "link").symlink_to(data)
    command = ("/usr/lib/postgresql/17/bin/postgres", "-D", f"{tmp_path}/link", "-c", "a=b")
    with orphan(data) as process:
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            process.kill()
            process.wait()

        wait_for_orphans(command, clock=lambda: 0.0, sleep=sleep)
        assert len(slept) == 1


def test_it_does_not_wait_for_ever(tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    data = tmp_path / "data"
    data.mkdir()
    with orphan(data) as process:
        wait_for_orphans(("postgres", "-D", str(data)), clock=lambda: now[0], sleep=sleep)
        assert process.poll() is None
    assert LONGEST <= now[0] < LONGEST + 1


def test_it_does_not_wait_for_others(tmp_path: Path) -> None:
    """Such as a shell in the directory, or a PostgreSQL in another one."""
    other, data = tmp_path / "other" / "data", tmp_path / "data"
    for path in (other, data):
        path.mkdir(parents=True)
    with orphan(other), subprocess.Popen(["/usr/bin/sleep", "1000"], cwd=data) as process:
        slept: list[float] = []
        wait_for_orphans(("postgres", "-D", str(data)), clock=lambda: 0.0, sleep=slept.append)
        assert slept == []
        process.kill()
