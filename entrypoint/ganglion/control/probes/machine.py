"""The disk of the data directory, the certificate and the clock."""

import contextlib
import datetime as dt
import os
import time
from dataclasses import dataclass
from pathlib import Path

from ganglion.settings.variables import Settings

MB = 1024**2
# Below it uploads and PostgreSQL's write-ahead log, 16 MB a file, fail soon.
LEAST_FREE = 64 * MB
LEAST_FILES = 100
# In seconds: other servers reject requests signed by a clock that is off by more.
MOST_CLOCK_ERROR = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A file system: free bytes, free inodes (None if it does not count them), read-only or not."""

    free: int
    files: int | None
    read_only: bool


def disk(settings: Settings) -> str | None:
    """Look at the file system of the data directory."""
    try:
        found = os.statvfs(settings.data)
    except OSError as error:
        return f"cannot be looked at: {error.strerror}: {settings.data}"
    return judge_disk(
        Disk(
            free=found.f_bavail * found.f_frsize,
            files=found.f_favail if found.f_files else None,
            read_only=bool(found.f_flag & os.ST_RDONLY),
        )
    )


def judge_disk(found: Disk) -> str | None:
    """Return the problem of a file system."""
    if found.read_only:
        return "is read-only"
    if found.free < LEAST_FREE:
        return f"is full: {found.free // MB} MB are free"
    if found.files is not None and found.files < LEAST_FILES:
        return f"is full: {found.files} more files fit"
    return None


def certificate(settings: Settings) -> str | None:
    """Look for faults of the certificate and key that nginx serves."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    from ganglion.data.certificate_check import faults  # noqa: PLC0415 - cryptography is slow

    key = b""
    try:
        chain = Path(settings.tls_cert).read_bytes()
        # nginx reads it as the account that starts Ganglion; another one may not.
        with contextlib.suppress(PermissionError):
            key = Path(settings.tls_key).read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}: {error.filename}"
    for variable, message, _ in faults(chain, key, dt.datetime.now(dt.UTC)):
        if key or variable == "SYNAPSE_TLS_CERT":
            return f"is faulty: {variable} {message}"
    return None


def clock(settings: Settings, ahead_of_database: float | None) -> str | None:
    """Compare the clock with PostgreSQL's, and with the time of the last start."""
    age = None
    with contextlib.suppress(OSError):
        age = time.time() - Path(settings.paths.server_json).stat().st_mtime
    return judge_clock(ahead_of_database, age)


def judge_clock(ahead_of_database: float | None, age: float | None) -> str | None:
    """Return the problem of a clock. Both are in seconds, and None if unknown."""
    if ahead_of_database is not None and abs(ahead_of_database) > MOST_CLOCK_ERROR:
        direction = "ahead of" if ahead_of_database > 0 else "behind"
        return f"is {abs(ahead_of_database):.0f} s {direction} PostgreSQL's"
    if age is not None and age < -MOST_CLOCK_ERROR:
        return f"was set back by at least {-age:.0f} s since the last start"
    return None
