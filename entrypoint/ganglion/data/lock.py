"""The lock on the data directory."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from ganglion.data.owned_lock import take
from ganglion.data.paths import Paths
from ganglion.errors import ConfigError, Problem
from ganglion.files.write import make_directory
from ganglion.machine.children import holding
from ganglion.machine.installed import Machine

LOCK = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


@contextlib.contextmanager
def locked(paths: Paths, machine: Machine) -> Iterator[int]:
    """Lock the data directory for the body of the `with`: two servers would corrupt it.

    Yields the descriptor that holds the lock. As root, the directory itself becomes root's, so that
    no program's account can replace its entries.

    Raises ConfigError if it cannot be written or entered, or another server has locked it.
    """
    data = Path(paths.data)
    with contextlib.ExitStack() as opened:
        try:
            data.mkdir(parents=True, exist_ok=True)
            if machine.accounts:
                os.chown(data, 0, -1)
            # Those of a start as another account become root's too.
            root = "0:0" if machine.accounts else None
            make_directory(Path(paths.kept_secrets), 0o700, root)
            held = os.open(paths.lock, LOCK, 0o600)
            opened.callback(os.close, held)
            if machine.accounts:
                os.fchown(held, 0, 0)
            os.fchmod(held, 0o600)
        except OSError as error:
            hint = f"give a directory that UID {os.geteuid()} may write to"
            raise _unusable(data, f"cannot be written: {error.strerror}", hint) from error
        if not take(held):
            raise _unusable(data, "is in use by another server", "stop that one first")
        _check_entry(data, machine)
        with holding(held):
            yield held


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
