"""The lock on the data directory."""

import fcntl
from pathlib import Path
from typing import TextIO

from ganglion.data.paths import Paths
from ganglion.errors import ConfigError, Problem
from ganglion.files.write import make_directory
from ganglion.machine.installed import Machine


def lock(paths: Paths, machine: Machine) -> TextIO:
    """Lock the data directory: two servers sharing it would corrupt it.

    Returns the open lock file, which holds the lock until it is closed. Raises ConfigError if the
    directory cannot be written or entered, or another server has locked it.
    """
    data = Path(paths.data)
    try:
        data.mkdir(parents=True, exist_ok=True)
        make_directory(Path(paths.kept_secrets), 0o700, None)
        held = Path(paths.lock).open("w", encoding="utf-8")  # noqa: SIM115 - the caller closes it
    except OSError as error:
        hint = "give a directory that this account may write to"
        raise _unusable(data, f"cannot be written: {error.strerror}", hint) from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        held.close()
        raise _unusable(data, "is in use by another server", "stop that one first") from error
    _check_entry(data, machine)
    return held


def _check_entry(data: Path, machine: Machine) -> None:
    """Check that the programs' accounts can enter the data directory."""
    if not machine.accounts:
        return
    for ancestor in (data, *data.parents):
        if not ancestor.stat().st_mode & 0o001:
            raise _unusable(
                data,
                f"is below {ancestor}, which only its owner may enter; the programs run as "
                "accounts of their own",
                f"chmod o+x {ancestor}, or set GANGLION_DATA to a directory such as "
                "/var/lib/ganglion",
            )


def _unusable(data: Path, message: str, hint: str) -> ConfigError:
    return ConfigError(
        [Problem(variable="GANGLION_DATA", value=str(data), message=message, hint=hint)]
    )
