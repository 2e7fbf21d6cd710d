"""Programs that Ganglion runs for a while end with it, and hold its locks until then."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ganglion.machine import children
from tests.processes import identity

SOURCE = Path(__file__).resolve().parents[2] / "entrypoint" / "ganglion"
# These processes have several threads, so no code can run in the child. Their programs only read,
# and end by themselves within the doctor's time.
THREADED = {"doctor/disk.py", "doctor/indexes.py"}
# It says its version.
SHORT = {"machine/installed.py"}
# In seconds. The test fails if a program goes on that long.
LONG = 600
WAIT = f"import time; time.sleep({LONG})"


def parent(code: str, *arguments: str) -> "subprocess.Popen[str]":
    """A process of Ganglion's, which prints one line once it has started a program."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": os.defpath, "PYTHONPATH": str(SOURCE.parent)},
    )


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


@pytest.fixture
def lock(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "lock", os.O_CREAT | os.O_RDWR)
    yield descriptor
    os.close(descriptor)


def is_free(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(lock, fcntl.LOCK_UN)
    return True


@pytest.mark.timeout(60)
def test_a_program_ends_with_a_killed_process() -> None:
    code = f"""
import sys, time
from ganglion.machine import children
program = children.start([sys.executable, "-c", {WAIT!r}], account=sys.argv[1] or None)
print(program.pid, flush=True)
time.sleep({LONG})
"""
    account = "daemon" if os.geteuid() == 0 else ""
    with parent(code, account) as process:
        assert process.stdout is not None
        program = int(process.stdout.readline())
        name = identity(program)
        assert name
        process.kill()
    wait_for(lambda: identity(program) != name)


@pytest.mark.timeout(60)
def test_a_process_that_acted_as_another_account_still_ends_with_its_parent() -> None:
    """A change of the effective user ID clears the signal that it asked for: prctl(2)."""
    code = f"""
import os, signal, sys, time
from ganglion.machine.acting import acting_as
from ganglion.machine.parent_death import chosen, end_with_parent
parent = os.getpid()
reader, writer = os.pipe()
if os.fork() == 0:
    end_with_parent(parent, signal.SIGTERM)
    found = [chosen()]
    with acting_as("daemon"):
        found.append(chosen())
    found.append(chosen())
    os.write(writer, f"{{os.getpid()}} {{found == 3 * [signal.SIGTERM]}}".encode())
    time.sleep({LONG})
print(os.read(reader, 100).decode(), flush=True)
time.sleep({LONG})
"""
    with parent(code) as process:
        assert process.stdout is not None
        child, same = process.stdout.readline().split()
        name = identity(int(child))
        process.kill()
    assert same == "True"
    wait_for(lambda: identity(int(child)) != name)


def test_a_process_that_asked_for_no_signal_gets_none() -> None:
    code = """
from ganglion.machine.acting import acting_as
from ganglion.machine.parent_death import chosen
with acting_as("daemon"):
    pass
print(chosen(), flush=True)
"""
    with parent(code) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "None\n"


@pytest.mark.timeout(60)
def test_what_a_program_has_started_holds_the_lock_of_a_killed_process(
    tmp_path: Path, lock: int
) -> None:
    """Such as what initdb runs: nobody else may use the directory before its end."""
    code = f"""
import fcntl, os, sys, time
from ganglion.machine import children
lock = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(lock, fcntl.LOCK_EX)
program = [sys.executable, "-c", "import subprocess, sys; "
    "p = subprocess.Popen(sys.argv[1:], close_fds=False); print(p.pid, flush=True); p.wait()",
    sys.executable, "-c", {WAIT!r}]
with children.holding(lock):
    children.start(program)
    time.sleep({LONG})
"""
    with parent(code, str(tmp_path / "lock")) as process:
        assert process.stdout is not None
        further = int(process.stdout.readline())
        name = identity(further)
        process.kill()
        process.wait()
        assert identity(further) == name
        assert not is_free(lock)
        os.kill(further, signal.SIGKILL)
    wait_for(lambda: is_free(lock))


def test_a_program_that_may_outlive_it_holds_no_lock(lock: int) -> None:
    fcntl.flock(lock, fcntl.LOCK_EX)
    look = "import os, sys; os.fstat(int(sys.argv[1]))"
    command = [sys.executable, "-c", look, str(lock)]
    with children.holding(lock):
        assert children.run(command).returncode == 0
        assert children.run(command, locks=False, stderr=subprocess.DEVNULL).returncode == 1
    assert children.run(command, stderr=subprocess.DEVNULL).returncode == 1


def test_input_output_status_and_time_are_those_of_subprocess() -> None:
    copy = [sys.executable, "-c", "import sys; print(input()); sys.exit(3)"]
    done = children.run(copy, input="hello", stdout=subprocess.PIPE, text=True)
    assert (done.stdout, done.returncode) == ("hello\n", 3)
    with pytest.raises(subprocess.TimeoutExpired):
        children.run([sys.executable, "-c", WAIT], timeout=0.1)
    with pytest.raises(FileNotFoundError):
        children.run(["/nonexistent/program"])


def test_a_program_has_the_rights_of_its_account_alone() -> None:
    look = "import os; print(os.getresuid(), os.getresgid(), os.getgroups())"
    is_root = os.geteuid() == 0
    done = children.run(
        [sys.executable, "-c", look],
        account="12345:12346" if is_root else None,
        cwd="/",
        stdout=subprocess.PIPE,
        text=True,
    )
    user, group = (12345, 12346) if is_root else (os.geteuid(), os.getegid())
    groups = [12346] if is_root else os.getgroups()
    assert done.stdout == f"{3 * (user,)} {3 * (group,)} {groups}\n"


def test_programs_are_started_in_one_way() -> None:
    """So that the next one, too, ends with the process that has started it."""
    words = ("subprocess.run(", "subprocess.Popen(", "check_output(", "os.system(")
    found = {
        str(path.relative_to(SOURCE))
        for path in SOURCE.rglob("*.py")
        if any(word in path.read_text(encoding="utf-8") for word in words)
    }
    assert found - {"machine/children.py"} == THREADED | SHORT
