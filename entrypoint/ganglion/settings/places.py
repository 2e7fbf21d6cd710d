"""Whether this account can see the directories that the settings name.

A file in a directory that may not be entered looks as if it were missing, and a server would start
without the operator's options, or make a new database.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ganglion.data.paths import Paths
from ganglion.errors import ConfigError, Problem
from ganglion.settings.variables import Settings

NO_DIRECTORY = "is not a directory"
# The fixes; {} is the UID of this account.
ELSEWHERE = "give a directory, or a path at which one can be made"
CLOSED = "start as its owner or as root, or chown it to the account that starts Ganglion, UID {}"


def check(settings: Settings) -> None:
    """Try each directory, and the files whose presence decides something. Raises ConfigError."""
    problems = tuple(_problems(settings))
    if problems:
        raise ConfigError(problems)


def _problems(settings: Settings) -> Iterator[Problem]:
    paths, given = settings.paths, settings.config_dir
    # The files and the directories that are looked at for each variable.
    data = (
        (paths.homeserver_yaml, paths.postgres_version, paths.sqlite),
        (paths.homeserver_d, paths.modules),
    )
    config = Paths(data=given or settings.data, run=settings.run)
    seen = {
        ("GANGLION_DATA", settings.data): data,
        ("SYNAPSE_CONFIG_DIR", given): ((config.homeserver_yaml,), (config.homeserver_d,)),
        ("SYNAPSE_CONFIG_PATH", settings.config_path): ((settings.config_path,), ()),
    }
    for (variable, value), (files, directories) in seen.items():
        if value is None:
            continue
        tried = (*map(_file, filter(None, files)), *map(_directory, directories))
        reason = next(filter(None, tried), None)
        if reason is not None:
            yield Problem(
                variable=variable,
                value=value,
                message=reason,
                hint=ELSEWHERE if reason == NO_DIRECTORY else CLOSED.format(os.geteuid()),
            )


def _file(path: str) -> str | None:
    """Return why a file cannot be looked at. None if it can, or if there is none."""
    return _reason(path, lambda: Path(path).stat())


def _directory(path: str) -> str | None:
    return _reason(path, lambda: next(Path(path).iterdir(), None))


def _reason(path: str, look: Callable[[], object]) -> str | None:
    try:
        look()
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        return NO_DIRECTORY
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return None
