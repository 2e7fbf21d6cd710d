"""Exchange two directories in one step: renameat2(2), RENAME_EXCHANGE."""

import ctypes
import os
from pathlib import Path

from ganglion.files.disk import flush_entry

# linux/fcntl.h and linux/fs.h
AT_FDCWD = -100
RENAME_EXCHANGE = 2


def exchange(one: Path, other: Path) -> None:
    """Give each of two entries the other's name. Afterwards the disk has it.

    At no moment is one of the names without an entry. Raises OSError, also where the file system
    cannot do it, as that of a container's image.
    """
    library = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(path) for path in (one, other))
    first, second = names
    if library.renameat2(AT_FDCWD, first, AT_FDCWD, second, RENAME_EXCHANGE):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(one), None, str(other))
    for path in (one, other):
        flush_entry(path)
