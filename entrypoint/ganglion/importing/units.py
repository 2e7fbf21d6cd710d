"""The configuration files that a unit of systemd starts Synapse with."""

import glob
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from ganglion.errors import ConfigError, Problem, reason
from ganglion.importing.looking import matching
from ganglion.settings.reading import LARGEST_YAML, read_text

OPTIONS = ("-c", "--config-path", "--config-file")


def configs(unit: Path) -> list[Path]:
    """Return the configuration files of a unit. `%i` stands for every name that is there.

    Raises ConfigError if the unit cannot be read or starts no Synapse.
    """
    try:
        text = read_text(unit, LARGEST_YAML)
    except (OSError, ValueError) as error:
        message = f"cannot be read: {reason(error)}"
        raise _error(unit, message, "give the path of a unit of systemd") from error
    found: list[Path] = []
    for line in re.sub(r"\\\n", " ", text.replace("\r\n", "\n")).splitlines():
        name, equals, command = line.partition("=")
        if equals and name.strip() in ("ExecStart", "ExecStartPre"):
            try:
                words = shlex.split(command)
            except ValueError as error:
                raise _error(
                    unit, f"has an ExecStart that ends in a quote: {error}", "correct it"
                ) from error
            for path in config_paths(words):
                found.extend(_instances(path))
    if not found:
        raise _error(unit, "starts no Synapse with --config-path", "name the YAML files instead")
    return list(dict.fromkeys(found))


def config_paths(words: Sequence[str]) -> Iterator[str]:
    """Yield the paths of configuration files in a command."""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name not in OPTIONS:
            continue
        if equals:
            yield value
        elif index + 1 < len(words):
            yield words[index + 1]


def _instances(path: str) -> list[Path]:
    if "%i" not in path and "%I" not in path:
        return [Path(path)]
    # Other signs stand for themselves.
    parts = re.split("(?:%[iI])+", Path(path).name)
    return matching(Path(path).parent, "*".join(map(glob.escape, parts)))


def _error(unit: Path, message: str, hint: str) -> ConfigError:
    return ConfigError([Problem(variable=str(unit), value=None, message=message, hint=hint)])
