"""Wait for the processes that a killed PostgreSQL has left.

They notice its death and end by themselves, some of them after a few tenths of a second. A next
PostgreSQL that starts sooner finds their shared memory in use, and ends.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

# In seconds.
LONGEST = 5.0
EVERY = 0.02


def wait_for_orphans(
    words: Sequence[str],
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Wait until no process of another PostgreSQL is in the directory that a command names.

    `words` are the command: `postgres -D DIRECTORY …`. Call it in the child that is to become it.
    After LONGEST the child goes on, and PostgreSQL reports the processes in its own words.
    """
    program, directory = Path(words[0]).name, Path(words[list(words).index("-D") + 1]).resolve()
    deadline = clock() + LONGEST
    while any(_inside(directory, program)) and clock() < deadline:
        sleep(EVERY)


def _inside(directory: Path, program: str) -> Iterator[Path]:
    """Yield the processes that execute a program of this name and work in a directory."""
    for entry in Path("/proc").iterdir():
        # It has ended, or belongs to another account: then it is none of this PostgreSQL's.
        with contextlib.suppress(OSError):
            if (
                entry.name.isdigit()
                and (entry / "cwd").readlink() == directory
                and (entry / "exe").readlink().name == program
            ):
                yield entry
