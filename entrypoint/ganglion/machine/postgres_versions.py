"""The installed versions of PostgreSQL, and the version that a cluster needs."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from ganglion.errors import Problem, reason

# Debian's packages, of which several versions can be installed.
POSTGRES = Path("/usr/lib/postgresql")


def installed() -> dict[int, str]:
    """Return the directory of the server's programs for each installed major version."""
    return {
        int(path.parent.name): str(path)
        for path in POSTGRES.glob("*/bin")
        if path.parent.name.isdigit() and (path / "postgres").exists()
    }


def cluster_version(cluster: Path) -> int | None:
    """Return the major version of a cluster. None without one, or if it cannot be read."""
    try:
        return int((cluster / "PG_VERSION").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def programs_of(cluster: Path) -> tuple[str | None, int]:
    """Return the directory of the programs that a cluster needs, and their version.

    The newest ones without a cluster; 0 if there are none.
    """
    found = installed()
    version = cluster_version(cluster)
    if version is None:
        version = max(found, default=0)
    return found.get(version), version


def problems(cluster: Path, found: Mapping[int, str]) -> Iterator[Problem]:
    """Describe a cluster whose version is not one of the installed ones, `found`.

    Nothing if none is: whether PostgreSQL has to be installed here, the caller knows.
    """
    try:
        text = (cluster / "PG_VERSION").read_text(encoding="utf-8").strip()
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # It belongs to PostgreSQL's account. A start reads it as root.
        return
    except (OSError, UnicodeDecodeError) as error:
        yield _unreadable(cluster, reason(error))
        return
    if not (text.isascii() and text.isdigit()):
        yield _unreadable(cluster, f"has {text[:20]!r}, which is not a major version")
        return
    if not found or int(text) in found:
        return
    here = " and ".join(str(version) for version in sorted(found))
    if int(text) < max(found):
        hint = (
            f"start it once with an image that has PostgreSQL {text} too, which upgrades it, or"
            f" install postgresql-{text}, or move the data with a backup: docs/upgrade.md"
        )
    else:
        hint = (
            f"use the image that made it, or a later one: PostgreSQL {text} cannot be undone; or"
            " restore a backup: docs/upgrade.md"
        )
    yield Problem(
        variable="GANGLION_DATA",
        value=str(cluster.parent),
        message=f"its database is of PostgreSQL {text}, and here is PostgreSQL {here}",
        hint=hint,
    )


def _unreadable(cluster: Path, message: str) -> Problem:
    return Problem(
        variable=str(cluster / "PG_VERSION"),
        value=None,
        message=message,
        hint="restore the data directory from a backup",
    )
