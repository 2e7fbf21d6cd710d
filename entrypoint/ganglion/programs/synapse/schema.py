"""The version of the database's schema that the installed Synapse has."""

import ast
import importlib.util
from pathlib import Path

MODULE = Path("storage", "schema", "__init__.py")
NAME = "SCHEMA_VERSION"


def installed() -> int:
    """Return SCHEMA_VERSION. Synapse is not imported for it, which takes a second and memory.

    Synapse refuses a database whose compat_version is larger: synapse/storage/prepare_database.py.
    """
    spec = importlib.util.find_spec("synapse")
    if spec is None or spec.origin is None:
        raise LookupError("Synapse is not installed")
    path = Path(spec.origin).parent / MODULE
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == NAME:
            return int(ast.literal_eval(node.value))
    raise LookupError(f"{path} has no {NAME}")
