"""Whether this account can see the directories that the settings name.

A file in a directory that may not be entered looks as if it were missing, and a server would start
without the operator's options, or make a new database.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from ganglion.errors import ConfigError, Problem
from ganglion.settings.variables import Settings


def check(settings: Settings) -> None:
    """Try each directory, and the files whose presence decides something. Raises ConfigError."""
    problems = tuple(_problems(settings))
    if problems:
        raise ConfigError(problems)


def _problems(settings: Settings) -> Iterator[Problem]:
    paths = settings.paths
    config = settings.config_dir or settings.data
    seen = {
        "GANGLION_DATA": (
            paths.homeserver_yaml,
            f"{settings.data}/homeserver.d/",
            f"{settings.data}/modules/",
            paths.postgres_version,
            paths.sqlite,
        ),
        "SYNAPSE_CONFIG_DIR": (f"{config}/homeserver.yaml", f"{config}/homeserver.d/"),
        "SYNAPSE_CONFIG_PATH": (settings.config_path or paths.homeserver_yaml,),
    }
    values = {
        "SYNAPSE_CONFIG_DIR": settings.config_dir,
        "SYNAPSE_CONFIG_PATH": settings.config_path,
    }
    for variable, files in seen.items():
        value = values.get(variable, settings.data)
        reason = None if value is None else next(filter(None, map(_reason, files)), None)
        if value is not None and reason is not None:
            yield Problem(
                variable=variable,
                value=value,
                message=reason,
                hint="name a directory, and start as its owner or as root; or chown it to the"
                f" account that starts Ganglion, UID {os.geteuid()}",
            )


def _reason(path: str) -> str | None:
    """Return why a path cannot be looked at. None if it can, or if there is nothing."""
    try:
        if path.endswith("/"):
            next(Path(path).iterdir(), None)
        else:
            Path(path).stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return None
