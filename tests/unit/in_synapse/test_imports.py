"""Code that Synapse loads imports as little of Ganglion as possible."""

import ast
from pathlib import Path

import ganglion.in_synapse

OWN = "ganglion.in_synapse"
# Modules that import nothing of Ganglion themselves, or of this list.
ALLOWED = {
    "ganglion.logs.escape",
    "ganglion.logs.record",
    "ganglion.logs.redact",
    "ganglion.programs.postgres.sequences",
    "ganglion.settings.fix_names",
    "ganglion.topology.names",
}


def test_in_synapse_imports_only_itself_and_names() -> None:
    (directory,) = ganglion.in_synapse.__path__
    found = {
        node.module
        for path in Path(directory).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module is not None
    }
    ours = {name for name in found if name.split(".")[0] == "ganglion"}
    assert {name for name in ours if not name.startswith(f"{OWN}.")} == ALLOWED
