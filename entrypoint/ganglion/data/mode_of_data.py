"""Whether data belong to a server in test mode: such data and others are never mixed.

A server in test mode can be reset by anyone, and anyone could make administrators in it. So its
data never become a production server's by accident, and a production server's data never start in
test mode. server.json records the mode. Data from before this record, and databases and media that
came without it, are taken for a production server's.
"""

from collections.abc import Iterator
from pathlib import Path

from ganglion.errors import Problem
from ganglion.programs.postgres.cluster import CLAIM
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings

SWITCH = "GANGLION_SWITCH_TEST_MODE"


def problems(
    settings: Settings, operator: OperatorFiles, name: str, *, known: bool, recorded: bool | None
) -> Iterator[Problem]:
    """Yield a problem if the data were made in the other mode.

    `name` is the server's name. `known` says that there is a server.json, and `recorded` the mode
    in it; None if it has none.
    """
    made = recorded if recorded is not None else _shown(settings, operator, known=known)
    if made is None or made == settings.test_mode or settings.switch_test_mode == name:
        return
    yield other_mode(settings, name, f"the data in {settings.data}")


def other_mode(settings: Settings, name: str, data: str) -> Problem:
    """Describe data that were made in the other mode. `data` says where they are."""
    if settings.test_mode:
        off = "unset GANGLION_TEST_MODE"
        if settings.authority is not None and "GANGLION_TEST_MODE" not in settings.given:
            off = "set GANGLION_TEST_MODE=no"
        return Problem(
            variable="GANGLION_TEST_MODE",
            value="yes",
            message=f"{data} were made outside of test mode, in which anyone could delete them all",
            hint=f"{off}, or use other data; only if these may be lost, set {SWITCH}={name}",
        )
    return Problem(
        variable="GANGLION_TEST_MODE",
        value="no",
        message=f"{data} were made in test mode, in which anyone could make administrators",
        hint="set GANGLION_TEST_MODE=yes, or use other data; only if these are to be kept, set"
        f" {SWITCH}={name}",
    )


def _shown(settings: Settings, operator: OperatorFiles, *, known: bool) -> bool | None:
    """Return the mode of data without a record of it. None if there are no data."""
    cluster, sqlite = Path(settings.paths.postgres), Path(settings.paths.sqlite)
    # Only test mode uses the image's database in place, and has an SQLite database there.
    if cluster.is_symlink() and Path(f"{cluster.readlink()}{CLAIM}").exists():
        return True
    complete = Path(settings.paths.postgres_version).exists()
    if sqlite.exists() and not complete:
        return True
    if known or complete or _filled(settings.sqlite) or _media(settings, operator):
        return False
    return None


def _filled(sqlite: str | None) -> bool:
    return sqlite is not None and Path(sqlite).is_file() and Path(sqlite).stat().st_size > 0


def _media(settings: Settings, operator: OperatorFiles) -> bool:
    """Whether there are media, which a reset would delete."""
    place = Path(str(operator.options.get("media_store_path") or settings.paths.media_store))
    try:
        return any(entry.is_file() for entry in place.rglob("*"))
    except (OSError, ValueError):
        return False
