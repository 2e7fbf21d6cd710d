"""Processes that an upgrade of PostgreSQL has left are found by the directory they work in."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ganglion.programs.postgres import left

# In seconds. The test fails if a program goes on that long.
LONG = 600
SLEEP = f"import time; print('ready', flush=True); time.sleep({LONG})"
# As PostgreSQL: the first process gets the signal, and ends the others.
SERVER = f"""
import signal, subprocess, sys, time
session = "import time; print('ready', flush=True)\\ntry: time.sleep({LONG})\\n"
session += "except KeyboardInterrupt: open('cut off', 'w')"
child = subprocess.Popen([sys.executable, "-c", session])

def end(*_):
    child.terminate()
    child.wait()
    sys.exit()

signal.signal(signal.SIGINT, end)
time.sleep({LONG})
"""


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[str]"]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def program(code: str, place: Path) -> "subprocess.Popen[str]":
    found = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=place,
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    assert found.stdout is not None
    assert found.stdout.readline() == "ready\n"
    return found


@pytest.mark.timeout(60)
def test_programs_in_a_directory_are_killed_and_others_are_not(
    tmp_path: Path, started: list["subprocess.Popen[str]"]
) -> None:
    (tmp_path / "work").mkdir()
    started += [program(SLEEP, tmp_path / "work") for _ in range(2)]
    started.append(program(SLEEP, tmp_path))
    # Nothing ends a process's entry but its parent, which is this one.
    pid = os.fork()
    if pid == 0:
        left.end_programs(tmp_path / "work", None)
        os._exit(0)
    assert [process.wait() for process in started[:2]] == [-9, -9]
    assert os.waitpid(pid, 0)[1] == 0
    assert started[2].poll() is None


@pytest.mark.timeout(60)
def test_a_server_ends_its_sessions_itself(
    tmp_path: Path, started: list["subprocess.Popen[str]"]
) -> None:
    started.append(program(SERVER, tmp_path))
    pid = os.fork()
    if pid == 0:
        left.end_server(tmp_path, None)
        os._exit(0)
    assert started[0].wait() == 0
    assert os.waitpid(pid, 0)[1] == 0
    assert list(tmp_path.iterdir()) == []
    left.end_server(tmp_path, None)


def test_the_file_of_a_server_stays_as_long_as_a_process_works_there(
    tmp_path: Path, started: list["subprocess.Popen[str]"]
) -> None:
    file = tmp_path / "postmaster.pid"
    file.write_text("1\n")
    started.append(program(SLEEP, tmp_path))
    left.forget_server(tmp_path, None)
    assert file.exists()
    started[0].kill()
    started[0].wait()
    for _ in range(2):
        left.forget_server(tmp_path, None)
        assert not file.exists()
