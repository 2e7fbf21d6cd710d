"""Flush to the disk files that were made without waiting for it."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from ganglion.machine import children


def flushing(path: Path) -> Callable[[], bool]:
    """Begin to write the whole file system of `path` to its disk: sync(1), syncfs(2).

    Returns a function that says whether that has ended. A failure counts as an end, with sync's
    message on stderr: to wait for ever would not help.
    """
    # It only writes files of before, and may take long: it keeps no start waiting.
    command = ["sync", "-f", str(path)]
    process = children.start(command, locks=False, stdin=subprocess.DEVNULL)
    return lambda: process.poll() is not None


def flush_entry(path: Path) -> None:
    """Have the entry of a file in its directory survive a power cut: fsync(2)."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
