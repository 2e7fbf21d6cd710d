"""The version of the database's schema that the installed Synapse has.

A database says which version a Synapse must have at least: schema_compat_version. An older Synapse
refuses it, after its start.
"""

import ast
import importlib.util
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ganglion.errors import Problem

MODULE = Path("storage", "schema", "__init__.py")
NAME, COMPATIBLE = "SCHEMA_VERSION", "SCHEMA_COMPAT_VERSION"
# NULL in a database that Synapse has not filled yet.
TABLE = "SELECT to_regclass('schema_compat_version') || '' AS value"
NEEDED = "SELECT max(compat_version) + 0 AS value FROM schema_compat_version"


def installed() -> int:
    """Return SCHEMA_VERSION. Synapse is not imported for it, which takes a second and memory.

    Synapse refuses a database whose compat_version is larger: synapse/storage/prepare_database.py.
    """
    return _constant(NAME)


def lacking(connection: Any) -> str:  # noqa: ANN401 - psycopg2's, not imported here
    """Return what a database's tables lack for the installed Synapse; empty if nothing.

    Synapse records a version before it applies the changes of that version, which may take hours,
    and a later release may add changes to the version of an earlier one. So all of them are looked
    up: synapse/storage/prepare_database.py, _upgrade_existing_database.
    """
    wanted = installed()
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('schema_version') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return "it has no tables yet"
        cursor.execute("SELECT version, upgraded FROM schema_version")
        found, upgraded = cursor.fetchone() or (0, False)
        if found < wanted:
            return f"its tables have version {found}"
        # A newer Synapse has used it, or its tables were made in this version.
        if found > wanted or not upgraded:
            return ""
        cursor.execute("SELECT file FROM applied_schema_deltas WHERE version = %s", (wanted,))
        left = deltas(wanted) - {file for (file,) in cursor.fetchall()}
    return f"{len(left)} changes of version {wanted} are left: {min(left)}" if left else ""


def deltas(number: int) -> frozenset[str]:
    """Return the changes of a version that Synapse applies to PostgreSQL, as it records them."""
    schema = directory() / "storage" / "schema"
    places = [schema / kind / "delta" / str(number) for kind in ("common", "main", "state")]
    return frozenset(
        f"{number}/{path.name}"
        for place in places
        if place.is_dir()
        for path in place.iterdir()
        if path.name.endswith((".py", ".sql", ".sql.postgres"))
    )


def compatible() -> int:
    """Return SCHEMA_COMPAT_VERSION: a Synapse that goes back must have this version at least."""
    return _constant(COMPATIBLE)


def refused(needed: int, database: str, made_by: str | None) -> Iterator[Problem]:
    """Describe a database that needs a newer Synapse than the installed one.

    `needed` is its schema_compat_version, `made_by` the version of Synapse that used it last.
    """
    here = installed()
    if needed <= here:
        return
    newer = f"Synapse {made_by}" if made_by else "the Synapse that used it last"
    yield Problem(
        variable="matrix-synapse",
        value=version("matrix-synapse"),
        message=f"is too old for {database}: it has the schema {here}, and the database, last used"
        f" by {newer}, needs {needed} or later",
        hint=f"use an image with {newer}, or restore a backup that an older one made:"
        " docs/upgrade.md",
    )


def _constant(name: str) -> int:
    path = directory() / MODULE
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return int(ast.literal_eval(node.value))
    raise LookupError(f"{path} has no {name}")


def directory() -> Path:
    """Return the directory of the installed Synapse. Raises LookupError without one."""
    spec = importlib.util.find_spec("synapse")
    if spec is None or spec.origin is None:
        raise LookupError("Synapse is not installed")
    return Path(spec.origin).parent
