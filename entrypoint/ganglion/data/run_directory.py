"""The run directory: locked, and emptied at every start.

Nothing of an earlier run is taken for alive: no socket, process ID or lock file survives.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from ganglion.data.owned_lock import take
from ganglion.data.paths import RUN_ENTRIES, Paths
from ganglion.errors import ConfigError, Problem
from ganglion.machine.children import holding

LOCK = ".lock"
ENTER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


@contextlib.contextmanager
def claimed(paths: Paths) -> Iterator[int]:
    """Lock the run directory, empty it, and keep the lock for the body of the `with`.

    Yields the descriptor that holds the lock.

    The directory belongs to this process's account, so no other account can replace its
    entries. Entries are removed by descriptors, without following links.

    Raises ConfigError if another server uses it, or if it holds files of others.
    """
    run = Path(paths.run)
    try:
        run.mkdir(parents=True, exist_ok=True)
        directory = os.open(run, ENTER)
    except OSError as error:
        hint = f"give a directory that UID {os.geteuid()} may write to"
        raise _unusable(run, f"cannot be written: {error.strerror}", hint) from error
    with contextlib.ExitStack() as opened:
        opened.callback(os.close, directory)
        names = {entry.name for entry in os.scandir(directory)}
        others = sorted(names - RUN_ENTRIES - {LOCK})
        if others:
            message = f"holds {', '.join(others[:3])}, which a start would have to remove"
            raise _unusable(run, message, "name a new or an empty directory")
        try:
            if os.geteuid() == 0:
                os.fchown(directory, 0, 0)
            # The image's is root's and open to all, with the sticky bit, for `docker run --user`:
            # there, others cannot replace this account's entries either.
            found = os.fstat(directory)
            if found.st_uid == os.geteuid() or not found.st_mode & stat.S_ISVTX:
                os.fchmod(directory, 0o755)
            lock = os.open(
                LOCK,
                os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC,
                0o600,
                dir_fd=directory,
            )
            opened.callback(os.close, lock)
            if not take(lock):
                raise _unusable(run, "is in use by another server", "stop that one first")
        except OSError as error:
            hint = "give a directory that belongs to this account"
            raise _unusable(run, f"cannot be taken: {error.strerror}", hint) from error
        for name in names - {LOCK}:
            _remove(name, directory)
        with holding(lock):
            yield lock


def _remove(name: str, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        shutil.rmtree(name, dir_fd=directory)


def _unusable(run: Path, message: str, hint: str) -> ConfigError:
    return ConfigError(
        [Problem(variable="GANGLION_RUN", value=str(run), message=message, hint=hint)]
    )
