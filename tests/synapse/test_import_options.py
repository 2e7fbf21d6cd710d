"""The options that an import knows are all that the installed Synapse reads."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import synapse.config

from ganglion.importing.synapse_options import FORMER, KNOWN
from ganglion.settings.owned_options import BY_OPTION

HERE = Path(synapse.config.__file__).parent


def read_by_synapse() -> Iterator[str]:
    """Yield each option at the top level: `config.get("x")`, `config["x"]`, `"x" in config`."""
    for path in sorted(HERE.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        for function in functions:
            if function.name == "read_config":
                yield from _options(function)
        # Parsed as RatelimitSettings.parse(config, "rc_login.address").
        if path.name == "ratelimiting.py":
            yield from re.findall(r'\bconfig,\s*"(rc_[a-z_0-9]+)\b', path.read_text())


def _options(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        found: ast.expr | None = None
        match node:
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id="config"), attr="get"), args=[first, *_]
            ):
                found = first
            case ast.Subscript(value=ast.Name(id="config"), slice=index):
                found = index
            case ast.Compare(left=left, ops=[ast.In()], comparators=[ast.Name(id="config")]):
                found = left
        if isinstance(found, ast.Constant) and isinstance(found.value, str):
            yield found.value


def test_every_option_of_synapse_is_known() -> None:
    options = set(read_by_synapse())
    assert len(options) > 200
    assert {"server_name", "rc_login", "stream_writers"} <= options
    assert options - KNOWN - BY_OPTION.keys() == {"server_name"} - KNOWN


def test_former_options_are_no_longer_read() -> None:
    assert not FORMER.keys() & (KNOWN | BY_OPTION.keys() | set(read_by_synapse()))
