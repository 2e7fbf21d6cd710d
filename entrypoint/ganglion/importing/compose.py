"""A compose file that starts Synapse and its workers in containers of their own."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.importing.findings import Fate, Finding
from ganglion.importing.looking import unreadable
from ganglion.importing.units import config_paths
from ganglion.settings.reading import LARGEST_FILE, read_text

# Where Synapse's image looks for its file: docker/start.py.
DEFAULT_CONFIG = "/data/homeserver.yaml"
IMAGE = re.compile(r"(^|/)(matrix-)?synapse([-:@/]|$)")
REFERENCE = re.compile(r"\$\{?(?P<name>\w+)(?::?-(?P<default>[^}]*))?\}?")
# Variables that Ganglion reads as Synapse's image does.
VARIABLES = re.compile(r"SYNAPSE_\w+|POSTGRES_\w+|REDIS_\w+|UID|GID|TZ")
# Which process a container of Synapse's image is, and where its files are.
OF_CONTAINER = {
    "SYNAPSE_WORKER": "WORKERS",
    "SYNAPSE_CONFIG_PATH": "the file was read",
    "SYNAPSE_CONFIG_DIR": "the files were read",
}
REPLACED = (
    ("redis", "the Redis server in the container"),
    ("nginx", "the nginx in the container, which routes to all processes"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The content of a compose file: Synapse's files as the host has them, variables, mounts."""

    configs: tuple[Path, ...]
    variables: Mapping[str, str]
    roots: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]


def is_compose(options: Mapping[str, Any]) -> bool:
    """Whether a YAML file is one of compose."""
    return isinstance(options.get("services"), Mapping) and "server_name" not in options


def read(path: Path, options: Mapping[str, Any]) -> Stack:
    """Find the containers of Synapse. Raises ConfigError if there are none, or unknown mounts."""
    findings: list[Finding] = []
    configs: list[Path] = []
    variables: dict[str, str] = {}
    roots: list[tuple[str, str]] = []
    problems: list[Problem] = []
    values = _dot_env(path)
    for name, service in options["services"].items():
        if not isinstance(service, Mapping):
            problems.append(_problem(path, f"has the service {name} without content"))
            continue
        if not _is_synapse(service):
            findings.append(_beside(path, str(name), service))
            continue
        mounts = dict(_mounts(path, service, values))
        roots.extend(mounts.items())
        own = dict(_environment(service, values))
        command = [*_words(service.get("entrypoint")), *_words(service.get("command"))]
        named = list(config_paths(command)) or [own.get("SYNAPSE_CONFIG_PATH", DEFAULT_CONFIG)]
        for config in named:
            here = _on_host(config, mounts)
            if here is None:
                message = f"mounts no directory with {config} into {name}"
                problems.append(_problem(path, message, "copy the volume out and name its files"))
            else:
                configs.append(here)
        findings.extend(_of_service(path, str(name), service, own, variables))
    findings.extend(
        Finding(source=str(path), key=key, fate=Fate.UNKNOWN, text="it is not read; merge it first")
        for key in ("include",)
        if key in options
    )
    if not configs and not problems:
        message = "has no service with an image of Synapse"
        problems.append(_problem(path, message, "name the homeserver.yaml instead"))
    if problems:
        raise ConfigError(problems)
    return Stack(
        configs=tuple(dict.fromkeys(configs)),
        variables=variables,
        roots=tuple(dict.fromkeys(roots)),
        findings=tuple(findings),
    )


def _is_synapse(service: Mapping[str, Any]) -> bool:
    if IMAGE.search(str(service.get("image", ""))):
        return True
    words = (*_words(service.get("entrypoint")), *_words(service.get("command")))
    return any(word.startswith("synapse.app.") for word in words)


def _beside(path: Path, name: str, service: Mapping[str, Any]) -> Finding:
    image = str(service.get("image", ""))
    key = f"services.{name}"
    for word, text in REPLACED:
        if word in image.rpartition("/")[2]:
            return Finding(source=str(path), key=key, fate=Fate.REPLACED, text=text)
    if "postgres" in image:
        text = "the same server; name it in POSTGRES_HOST"
        return Finding(source=str(path), key=key, fate=Fate.TAKEN, text=text)
    text = "it is no part of Synapse, and stays as it is"
    return Finding(source=str(path), key=key, fate=Fate.DROPPED, text=text)


def _of_service(
    path: Path,
    name: str,
    service: Mapping[str, Any],
    environment: Mapping[str, str],
    variables: dict[str, str],
) -> Iterator[Finding]:
    for key, value in environment.items():
        place = f"services.{name}.environment.{key}"
        if key in OF_CONTAINER:
            fate, text = Fate.REPLACED, OF_CONTAINER[key]
        elif VARIABLES.fullmatch(key):
            variables[key] = value
            fate, text = Fate.TAKEN, f"the variable {key}"
        else:
            fate, text = Fate.UNKNOWN, "no variable of Synapse's image"
        yield Finding(source=str(path), key=place, fate=fate, text=text)
    for key in service:
        if key == "environment":
            continue
        fate, text = Fate.REPLACED, "the service of Ganglion"
        if key in ("command", "entrypoint"):
            text = "WORKERS"
        if key in ("env_file", "extends"):
            fate, text = Fate.UNKNOWN, "it is not read; write its content into the compose file"
        yield Finding(source=str(path), key=f"services.{name}.{key}", fate=fate, text=text)


def _words(value: object) -> list[str]:
    if isinstance(value, str):
        try:
            return shlex.split(value)
        except ValueError:
            return value.split()
    return [str(item) for item in value] if isinstance(value, list) else []


def _environment(
    service: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    given = service.get("environment")
    if isinstance(given, Mapping):
        for name, value in given.items():
            yield str(name), _filled("" if value is None else _plain(value), values)
    for item in given if isinstance(given, list) else ():
        name, _, value = str(item).partition("=")
        yield name, _filled(value, values)


def _plain(value: object) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _mounts(
    path: Path, service: Mapping[str, Any], values: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    """Yield each path in the container with the directory of the host. Volumes are unknown."""
    volumes = service.get("volumes")
    for item in volumes if isinstance(volumes, list) else ():
        if isinstance(item, Mapping):
            source, target = str(item.get("source", "")), str(item.get("target", ""))
        else:
            parts = _filled(str(item), values).split(":")
            source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", "")
        if source.startswith((".", "/")):
            yield target.rstrip("/"), str(path.parent / source)


def _on_host(config: str, mounts: Mapping[str, str]) -> Path | None:
    inside = PurePosixPath(config)
    for target in sorted(mounts, key=len, reverse=True):
        if inside.is_relative_to(target):
            return Path(mounts[target], inside.relative_to(target))
    return None


def _filled(text: str, values: Mapping[str, str]) -> str:
    """Fill in variables as compose does, from the file .env beside it."""
    return REFERENCE.sub(lambda found: values.get(found["name"]) or found["default"] or "", text)


def _dot_env(path: Path) -> dict[str, str]:
    place = path.parent / ".env"
    try:
        lines = read_text(place, LARGEST_FILE).splitlines()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise unreadable(place, error, "correct the file; compose reads it too") from error
    pairs = (line.partition("=") for line in lines if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, equals, value in pairs if equals}


def _problem(
    path: Path, message: str, hint: str = "correct the compose file, or name the YAML files"
) -> Problem:
    return Problem(variable=str(path), value=None, message=message, hint=hint)
