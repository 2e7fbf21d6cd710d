"""The directory for temporary files, such as the bodies of large requests."""

import tempfile
from collections.abc import Callable, MutableMapping

from ganglion.errors import ConfigError, Problem


def ensure(
    environ: MutableMapping[str, str],
    instead: str,
    find: Callable[[], str] = tempfile.gettempdir,
) -> None:
    """Name `instead` as the directory for temporary files if `find` finds no usual one.

    So a read-only root file system needs no /tmp. `environ` is this process's environment.
    """
    try:
        find()
    except FileNotFoundError:
        environ["TMPDIR"] = instead


def check(find: Callable[[], str] = tempfile.gettempdir) -> None:
    """Raise ConfigError if no temporary file can be made."""
    try:
        find()
    except FileNotFoundError as error:
        problem = Problem(
            variable="TMPDIR",
            value=None,
            message="no temporary file can be made: neither /tmp nor another directory is writable",
            hint="docker run --tmpfs /tmp, or use `docker exec` in a running server",
        )
        raise ConfigError([problem]) from error
