"""The directory for temporary files, such as the bodies of large requests."""

import tempfile
from collections.abc import Callable, MutableMapping


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
