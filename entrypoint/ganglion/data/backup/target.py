"""Where a backup goes: a file that takes its name when it is whole, or standard output."""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from ganglion.errors import ConfigError, Problem
from ganglion.files.disk import flush_entry

PART = ".part"
OPEN = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# In bytes. How often the disk is looked at, and how much of it stays free: the server itself may
# need the same disk, and stops if it is full.
LOOK_EVERY = 16 * 1024**2
MOST_SPARED = 1024**3
SPARED_PART = 20


# Returns the size and the free bytes of a directory's file system.
Usage = Callable[[Path], tuple[int, int]]


def disk_usage(path: Path) -> tuple[int, int]:
    """Ask the file system."""
    found = shutil.disk_usage(path)
    return found.total, found.free


class Sink(Protocol):
    """It takes the bytes of an archive."""

    def write(self, data: bytes, /) -> object:
        """Write all of the data. Raises OSError."""


class _Watched:
    """A file, whose disk is not filled."""

    def __init__(self, file: BinaryIO, path: Path, usage: Usage) -> None:
        self._file = file
        self._path = path
        self._usage = usage
        self._until_look = 0

    def write(self, data: bytes, /) -> None:
        self._until_look -= len(data)
        if self._until_look <= 0:
            self._until_look = LOOK_EVERY
            self._file.flush()
            total, free = self._usage(self._path.parent)
            if free < min(MOST_SPARED, total // SPARED_PART) + len(data):
                reason = f"its disk would be full: {free // 1024**2} MB are free"
                raise OSError(errno.ENOSPC, reason, str(self._path))
        self._file.write(data)


def check(path: Path) -> None:
    """Raise ConfigError if something has the name of a backup already."""
    if os.path.lexists(path):
        raise _problem(path, "exists already", "give another name, or remove it")
    if not path.parent.is_dir():
        raise _problem(path, f"{path.parent} is no directory", f"mkdir {path.parent}")


@contextlib.contextmanager
def written(path: Path, usage: Usage = disk_usage) -> Iterator[Sink]:
    """Yield a sink for a new file. It is on the disk and has its name after the body.

    It is FILE.part until then, for this account alone. After an error it is removed. One that a
    killed backup left is written anew. Raises ConfigError if another backup writes it, and OSError
    with the file's name.
    """
    check(path)
    part = path.with_name(path.name + PART)
    descriptor = _claimed(part, path)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield _Watched(file, path, usage)
            file.flush()
            os.fsync(file.fileno())
            _name(part, path)
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()
        if isinstance(error, OSError) and error.errno in (
            errno.ENOSPC,
            errno.EDQUOT,
            errno.EIO,
            errno.EFBIG,
        ):
            error.filename = str(path)
        raise
    flush_entry(path)


def _claimed(part: Path, path: Path) -> int:
    """Open FILE.part, locked and empty."""
    while True:
        try:
            descriptor = os.open(part, OPEN, 0o600)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise _problem(part, "is a link", "remove it") from error
            raise
        try:
            _check_part(part, descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another backup may have given it its name, or removed it, before the lock.
            if _is_still(part, descriptor):
                os.fchmod(descriptor, 0o600)
                os.ftruncate(descriptor, 0)
                return descriptor
        except BlockingIOError as error:
            os.close(descriptor)
            hint = "wait for that one, or give another name"
            raise _problem(path, "is being written by another backup", hint) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        check(path)


def _check_part(part: Path, descriptor: int) -> None:
    """Raise ConfigError for a file that others could read: a backup is secret."""
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
        raise _problem(part, "is another account's, or no file", "remove it")
    if state.st_nlink > 1:
        raise _problem(part, "has further names", "remove it")


def _is_still(part: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(part.lstat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _name(part: Path, path: Path) -> None:
    """Give a whole file its name. Raises ConfigError if another one has taken it."""
    try:
        os.link(part, path, follow_symlinks=False)
    except FileExistsError as error:
        hint = "give another name, or remove it"
        raise _problem(path, "was made meanwhile by another program", hint) from error
    except OSError:
        # A file system without hard links, such as vfat.
        check(path)
        part.rename(path)
    else:
        part.unlink()


def _problem(path: Path, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(variable="FILE", value=str(path), message=message, hint=hint)])
