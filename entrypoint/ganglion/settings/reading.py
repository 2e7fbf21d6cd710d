"""Read files whole, with a bound for each kind: what another program wrote may be anything."""

import errno
import json
import os
import stat
from typing import Any

# In bytes. A large homeserver.yaml has 100K. Reading 1M takes two seconds and more.
LARGEST_YAML = 1024**2
# server.json, a chain of certificates, or a registration has some K at most.
LARGEST_FILE = 1024**2
# The file of a secret holds one line.
LARGEST_SECRET = 64 * 1024
# Linux's limits: limits.h. A path's includes the NUL behind it.
LONGEST_PART = 255
LONGEST_PATH = 4095


def read_text(path: str | os.PathLike[str], most: int, *, follow: bool = True) -> str:
    """Return the text of a regular file of at most `most` bytes. A FIFO does not block it.

    Raises OSError, also for a larger file and a path that no file can have, and ValueError if it is
    not UTF-8. `follow` is False for a path that must not be a link.
    """
    return read_bytes(path, most, follow=follow).decode("utf-8")


def read_bytes(path: str | os.PathLike[str], most: int, *, follow: bool = True) -> bytes:
    """Return the content of a file as read_text() does."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    name = os.fspath(path)
    reason = impossible(name)
    if reason:
        raise OSError(errno.EINVAL, reason, name)
    descriptor = os.open(name, flags)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
        if not stat.S_ISREG(kind):
            raise OSError(errno.EINVAL, "it is not a regular file", name)
        with open(descriptor, "rb", closefd=False) as file:
            content = file.read(most + 1)
    finally:
        os.close(descriptor)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"it is larger than {most} bytes, the most that is read", name)
    return content


def impossible(path: str) -> str | None:
    """Return why no file can have a path. None if one can."""
    if "\0" in path:
        return "the path contains a NUL character"
    try:
        name = os.fsencode(path)
    except UnicodeEncodeError:
        return "the path contains a character that no path can have"
    if len(name) > LONGEST_PATH:
        return f"the path is longer than {LONGEST_PATH} bytes"
    if max(map(len, name.split(b"/"))) > LONGEST_PART:
        return f"the path has a part of more than {LONGEST_PART} bytes"
    return None


def parse_json(text: str) -> Any:  # noqa: ANN401 - any JSON
    """Parse JSON. Raises ValueError, also if it is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
