"""Read one YAML file of an old installation, whatever it holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ganglion.errors import ConfigError, Problem, reason
from ganglion.settings import bounded_yaml
from ganglion.settings.reading import LARGEST_YAML, read_text

BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
SUFFIXES = (".yaml", ".yml")


def read_options(path: Path) -> dict[str, Any]:
    """Return the options of a file; empty for a file of comments alone.

    Raises ConfigError if it cannot be read, is not YAML, sets an option twice or has no options.
    """
    try:
        text = read_text(path, LARGEST_YAML).removeprefix(BOM)
        found = bounded_yaml.load(text)
        # PyYAML and Synapse take the last one, and people look at the first one.
        doubles = list(_doubles(yaml.compose(text, yaml.SafeLoader)))
    # UnicodeDecodeError: binary data.
    except UnicodeDecodeError as error:
        raise _error(path, "is not text in UTF-8", "give the path of a YAML file") from error
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise _error(path, f"cannot be read: {reason(error)}", "correct the file") from error
    if doubles:
        raise ConfigError([_double(path, *double) for double in doubles])
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _error(path, "is not a mapping of options", "give the path of a configuration file")
    odd = [key for key in found if not isinstance(key, str)]
    if odd:
        message = f"has the option {odd[0]!r}, whose name is not a text"
        raise _error(path, message, "correct its name")
    return found


def _doubles(root: yaml.Node | None) -> Iterator[tuple[str, int, int]]:
    """Yield each key that a mapping has twice, with both lines. Aliased values are visited once."""
    seen: set[int] = set()
    waiting = [root] if root is not None else []
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                waiting.append(value)
                if isinstance(key, yaml.ScalarNode) and key.value != "<<":
                    line = key.start_mark.line + 1
                    if key.value in lines:
                        yield key.value, lines[key.value], line
                    lines[key.value] = line


def _double(path: Path, key: str, first: int, second: int) -> Problem:
    return Problem(
        variable=str(path),
        value=None,
        message=f"sets {key} twice, in the lines {first} and {second}",
        hint=f"remove one of them; Synapse uses line {second}",
    )


def _error(path: Path, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(variable=str(path), value=None, message=message, hint=hint)])
