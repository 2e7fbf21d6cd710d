"""The directory for temporary files, such as the bodies of large requests."""

import contextlib
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, MutableMapping
from pathlib import Path

from ganglion.errors import ConfigError, Problem
from ganglion.machine.children import holding

PREFIX = "ganglion."
NAME = re.compile(r"ganglion\.[a-z]+\.\w{8}")
OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def directory(purpose: str) -> Iterator[Path]:
    """Make a directory for the body, and remove those that killed processes of this account left.

    It is locked. The programs that are started in the body hold the lock too, so nobody removes it
    as long as one of them runs. `purpose` is a word for its name. Raises OSError.
    """
    remove_left(Path(tempfile.gettempdir()))
    while True:
        place = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{purpose}."))
        held = _held(place)
        # Else another process took it for one that was left, in the moment before the lock.
        if held is not None:
            break
    try:
        with holding(held):
            yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        os.close(held)


def remove_left(parent: Path) -> None:
    """Remove the directories in `parent` whose processes have ended, killed ones too."""
    for place in parent.iterdir():
        if NAME.fullmatch(place.name):
            held = _held(place)
            if held is not None:
                shutil.rmtree(place, ignore_errors=True)
                os.close(held)


def _held(place: Path) -> int | None:
    """Lock a directory of this account. Return the descriptor; None if it is another's or gone."""
    try:
        descriptor = os.open(place, OPEN)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(descriptor)
        if found.st_uid == os.geteuid() and os.path.samestat(found, place.lstat()):
            return descriptor
    except OSError:
        # It is locked, or gone.
        pass
    os.close(descriptor)
    return None


def ensure(
    environ: MutableMapping[str, str],
    instead: str,
    find: Callable[[], str] = tempfile.gettempdir,
) -> None:
    """Name `instead` as the directory for temporary files if `find` finds no usual one.

    So a read-only root file system needs no /tmp. `environ` is this process's environment.
    """
    try:
        find()
    except FileNotFoundError:
        environ["TMPDIR"] = instead


def check(find: Callable[[], str] = tempfile.gettempdir) -> None:
    """Raise ConfigError if no temporary file can be made."""
    try:
        find()
    except FileNotFoundError as error:
        problem = Problem(
            variable="TMPDIR",
            value=None,
            message="no temporary file can be made: neither /tmp nor another directory is writable",
            hint="docker run --tmpfs /tmp, or use `docker exec` in a running server",
        )
        raise ConfigError([problem]) from error
