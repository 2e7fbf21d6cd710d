"""Find the files of an old installation: a file, or a directory in one of the known layouts."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ganglion.errors import ConfigError, Problem, reason
from ganglion.importing import compose, units
from ganglion.importing.findings import Fate, Finding, OldFile, OldServer
from ganglion.importing.looking import exists, is_directory, unreadable
from ganglion.importing.yaml_files import SUFFIXES, read_options
from ganglion.settings.reading import impossible

# The places of files below a directory that is named: Debian's package and synctl (workers,
# conf.d), Synapse's image (the top), the Ansible playbook (/matrix or /matrix/synapse).
PLACES = (
    "",
    "conf.d",
    "homeserver.d",
    "workers",
    "worker",
    "conf",
    "conf/workers",
    "config",
    "config/workers",
    "data",
    "synapse/config",
    "synapse/config/workers",
)
# Read after homeserver.yaml, in the order of their names.
DROP_INS = ("conf.d", "homeserver.d")
MOST_FILES = 500
NO_WORKER = ("synapse.app.homeserver", None)
# Where containers have the directory that is named: Synapse's image and the playbook.
CONTAINER_DATA = "/data"


@dataclass(slots=True)
class _Found:
    mains: list[OldFile] = field(default_factory=list)
    extra: list[OldFile] = field(default_factory=list)
    workers: list[OldFile] = field(default_factory=list)
    variables: dict[str, str] = field(default_factory=dict)
    roots: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)


def find(paths: list[Path]) -> OldServer:
    """Read everything that the paths lead to. Raises ConfigError with every problem."""
    found = _Found()
    for path in paths:
        try:
            _path(path, found)
        except ConfigError as error:
            found.problems.extend(error.problems)
    if len(found.mains) > 1:
        names = ", ".join(file.path for file in found.mains)
        message = f"several files have a server_name: {names}"
        found.problems.append(_problem("PATH", message, "name the files of one server only"))
    if not found.problems and not found.mains and not found.variables:
        where = ", ".join(map(str, paths))
        message = f"no homeserver.yaml with a server_name in {where}"
        found.problems.append(
            _problem("PATH", message, "name the homeserver.yaml of the main process")
        )
    if found.problems:
        raise ConfigError(list(dict.fromkeys(found.problems)))
    return OldServer(
        shared=(*found.mains, *found.extra),
        workers=tuple(found.workers),
        variables=dict(found.variables),
        roots=tuple(dict.fromkeys(found.roots)),
        findings=tuple(found.findings),
    )


def _path(path: Path, found: _Found) -> None:
    why = impossible(str(path))
    if why:
        raise ConfigError([_problem(repr(str(path)), why, "correct the path")])
    try:
        # Also a loop of links, which is_dir() and is_file() take for nothing.
        path.stat()
        if path.is_dir():
            _directory(path, found)
            return
    except OSError as error:
        message = f"cannot be read: {reason(error)}"
        raise ConfigError([_problem(str(path), message, "give a file or a directory")]) from error
    if path.suffix == ".service":
        _unit(path, found)
    else:
        _file(path, found, named=True)


def _directory(directory: Path, found: _Found) -> None:
    number = 0
    for place in PLACES:
        for path in _listed(directory / place):
            number += 1
            if number > MOST_FILES:
                message = f"has more than {MOST_FILES} YAML files"
                raise ConfigError(
                    [_problem(str(directory), message, "name the files that Synapse reads")]
                )
            try:
                _file(path, found, named=False, drop_in=place in DROP_INS)
            except ConfigError as error:
                found.problems.extend(error.problems)


def _listed(directory: Path) -> list[Path]:
    if not is_directory(directory):
        return []
    return sorted(
        path
        for path in map(Path, os.scandir(directory))
        if path.suffix in SUFFIXES and not is_directory(path)
    )


def _file(path: Path, found: _Found, *, named: bool, drop_in: bool = False) -> None:
    """Read one file, and find out which kind it is."""
    real = os.path.realpath(path)
    if real in found.seen:
        return
    found.seen.add(real)
    options = read_options(path)
    file = OldFile(path=str(path), options=options)
    if compose.is_compose(options):
        _compose(path, options, found)
    elif options.get("worker_app") not in NO_WORKER:
        found.workers.append(file)
    elif "server_name" in options:
        found.mains.append(file)
        found.roots.append((CONTAINER_DATA, str(path.parent)))
        _named_roots(options, path, found)
    elif drop_in or (named and not _other(options)):
        found.extra.append(file)
    else:
        fate, text = _other(options) or (
            Fate.UNKNOWN,
            "it has neither worker_app nor server_name; name it as PATH if Synapse reads it",
        )
        found.findings.append(Finding(source=str(path), key="(the file)", fate=fate, text=text))


def _named_roots(options: Mapping[str, Any], path: Path, found: _Found) -> None:
    """The playbook mounts the directory `storage` beside `config` under a name of its own."""
    media = options.get("media_store_path")
    storage = path.parent.parent / "storage"
    if isinstance(media, str) and media.startswith("/matrix-media-store-parent/"):
        found.roots.append(("/matrix-media-store-parent", str(storage)))


def _other(options: Mapping[str, Any]) -> tuple[Fate, str] | None:
    """The fate of a file that is none of Synapse's own configuration files. None for those."""
    if options.keys() & {"handlers", "formatters", "loggers"} and "version" in options:
        return Fate.REPLACED, "the log goes to standard output: SYNAPSE_LOG_LEVEL and its like"
    if {"as_token", "hs_token"} <= options.keys():
        return Fate.TAKEN, "appservices, if app_service_config_files names it"
    if not options:
        return Fate.DROPPED, "it is empty"
    return None


def _compose(path: Path, options: Mapping[str, Any], found: _Found) -> None:
    stack = compose.read(path, options)
    found.findings.extend(stack.findings)
    found.variables.update(stack.variables)
    found.roots.extend(stack.roots)
    for config in stack.configs:
        _configured(config, found)


def _unit(path: Path, found: _Found) -> None:
    for config in units.configs(path):
        _configured(config, found)


def _configured(path: Path, found: _Found) -> None:
    """Read a file, or all files of a directory, that a unit or a container is started with."""
    if not exists(path):
        message = "is named as a configuration file and does not exist here"
        found.problems.append(
            _problem(str(path), message, "mount its volume, or name the files one by one")
        )
        return
    is_all = is_directory(path)
    try:
        items = _listed(path) if is_all else [path]
    except OSError as error:
        raise unreadable(path, error, "give a file or a directory") from error
    for item in items:
        try:
            _file(item, found, named=True, drop_in=is_all)
        except ConfigError as error:
            found.problems.extend(error.problems)


def _problem(where: str, message: str, hint: str) -> Problem:
    return Problem(variable=where, value=None, message=message, hint=hint)
