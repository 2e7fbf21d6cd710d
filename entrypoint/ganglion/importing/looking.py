"""Look at paths that an old installation names: any text, and anything may be there."""

import fnmatch
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ganglion.errors import ConfigError, Problem, reason

# Entries that a pattern looks at, in all directories together.
MOST_ENTRIES = 100_000
WILD = frozenset("*?[")


def exists(path: Path) -> bool:
    """Return whether something is there; False for a path that no file can have."""
    return _mode(path) is not None


def is_directory(path: Path) -> bool:
    """Return whether a directory is there."""
    return stat.S_ISDIR(_mode(path) or 0)


def is_file(path: Path) -> bool:
    """Return whether a regular file is there."""
    return stat.S_ISREG(_mode(path) or 0)


def matching(start: Path, pattern: str) -> list[Path]:
    """Return the paths below a directory that match a pattern, in order, as glob(3) does.

    `*` is for a part of one name, and never for a name that starts with a dot. Raises ConfigError
    if the pattern makes it look at more than 100,000 entries.
    """
    found = [start]
    looked = 0
    for part in filter(None, pattern.split("/")):
        if not WILD & set(part):
            found = [path / part for path in found]
            continue
        following = []
        for path in found:
            for name in _names(path):
                looked += 1
                if looked > MOST_ENTRIES:
                    message = f"makes the import look at more than {MOST_ENTRIES} entries"
                    raise ConfigError([_problem(pattern, message, "name the files one by one")])
                if fnmatch.fnmatchcase(name, part) and name.startswith(".") <= (part[0] == "."):
                    following.append(path / name)
        found = following
    return sorted(path for path in found if exists(path))


def unreadable(path: Path, error: OSError | ValueError, hint: str) -> ConfigError:
    """Return the error for a path that cannot be read, which may be another one by now."""
    return ConfigError([_problem(str(path), f"cannot be read: {reason(error)}", hint)])


def _names(path: Path) -> Iterator[str]:
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                yield entry.name
    except (OSError, ValueError):
        return


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def _problem(where: str, message: str, hint: str) -> Problem:
    return Problem(variable=where, value=None, message=message, hint=hint)
