"""A lock file that names its owner, for as long as any of the owner's programs holds it.

All programs of a supervisor hold its locks. After its death they end within seconds, so a start
that finds a lock of a supervisor which is no more waits for them.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

# In seconds. PostgreSQL takes longest: it writes what it has in memory.
PROGRAMS_END_WITHIN = 10.0
EVERY = 0.1
# No owner takes more bytes.
MOST = 100


def take(
    held: int,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> bool:
    """Lock an open file for this process, and write its name there.

    Returns False if the lock's owner lives, or its programs do not end in time.
    """
    deadline = clock() + PROGRAMS_END_WITHIN
    while True:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(held, 0)
            os.pwrite(held, identity(os.getpid()).encode(), 0)
            return True
        if _owner_lives(held) or clock() >= deadline:
            return False
        sleep(EVERY)


def identity(pid: int) -> str:
    """Return a process's number and the tick at which it started; empty if it is no more."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = after_name.rpartition(")")[2].split()
    return "" if fields[0] in ("Z", "X") else f"{pid} {fields[19]}"


def _owner_lives(held: int) -> bool:
    """Return whether the process that the file names runs. One that names none may be anybody's."""
    owner = os.pread(held, MOST, 0).decode(errors="replace")
    pid = owner.partition(" ")[0]
    return not (pid.isascii() and pid.isdigit()) or identity(int(pid)) == owner
