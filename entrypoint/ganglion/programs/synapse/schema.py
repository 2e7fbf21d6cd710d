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


def version_of(connection: Any) -> int:  # noqa: ANN401 - psycopg2's, not imported here
    """Return the version of a database's tables, 0 if it has none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('schema_version') IS NOT NULL")
        if cursor.fetchone() != (True,):
            return 0
        cursor.execute("SELECT max(version) FROM schema_version")
        (found,) = cursor.fetchone() or (None,)
    return int(found or 0)


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
    spec = importlib.util.find_spec("synapse")
    if spec is None or spec.origin is None:
        raise LookupError("Synapse is not installed")
    path = Path(spec.origin).parent / MODULE
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            return int(ast.literal_eval(node.value))
    raise LookupError(f"{path} has no {name}")
