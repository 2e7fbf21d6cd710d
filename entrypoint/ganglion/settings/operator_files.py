"""The operator's own Synapse configuration: homeserver.yaml and homeserver.d/*.yaml.

They are in the data directory, or where the variables of Synapse's images say.

They are read, never written.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from ganglion.errors import ConfigError, Problem
from ganglion.settings.variables import Settings

# Options that say for one process what the topology says for all of them, or that Synapse refuses
# beside their modern form, which overrides.yaml holds: WorkerConfig in synapse/config/workers.py.
IMPOSSIBLE = {
    "worker_app": "WORKERS decides which workers there are",
    "worker_name": "WORKERS decides which workers there are",
    "worker_listeners": "each worker's listeners are made for it",
    "notify_appservices": "put appservice into WORKERS instead",
    "update_user_directory": "put user_dir into WORKERS instead",
    "databases": "there is one database; see docs/configuration.md",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFiles:
    """The files, in the order in which Synapse reads them, and their options as they come out.

    `registrations` are the application services' files in SYNAPSE_AS_REGISTRATION_DIR, or in the
    data directory's appservices where the files name none.
    """

    paths: tuple[str, ...] = ()
    registrations: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    # Texts of registrations that Synapse's account may not read, by their paths.
    copies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def all_registrations(self) -> tuple[str, ...]:
        """The registrations that the options name, and those of the directory."""
        named = self.options.get("app_service_config_files") or []
        return tuple(dict.fromkeys([*map(str, named), *self.registrations]))

    @property
    def any_locale(self) -> bool:
        """Whether the operator accepts a database of a locale that Synapse calls unsafe."""
        database = self.options.get("database")
        return isinstance(database, dict) and database.get("allow_unsafe_locale") is True


def load(settings: Settings) -> OperatorFiles:
    """Read the files. Raises ConfigError for what cannot be used."""
    paths = [path for path in (homeserver_yaml(settings),) if path.is_file()]
    for directory in _directories(settings):
        paths += sorted(path for path in directory.glob("*.yaml") if path.is_file())
    problems: list[Problem] = list(_missing(settings))
    options: dict[str, Any] = {}
    for path in paths:
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        # ValueError: text that is not UTF-8, or a value such as the date 2026-13-01.
        except (OSError, ValueError, yaml.YAMLError) as error:
            problems.append(_problem(path, f"cannot be read: {error}", "correct the file"))
            continue
        if found is None:
            continue
        if not isinstance(found, dict):
            problems.append(_problem(path, "is not a mapping of options", "write option: value"))
            continue
        problems.extend(
            _problem(path, f"sets {option}", f"take it out; {why}")
            for option, why in IMPOSSIBLE.items()
            if option in found
        )
        if not isinstance(found.get("app_service_config_files", []), list):
            problems.append(
                _problem(path, "sets app_service_config_files to no list", "write one, with - FILE")
            )
        # In test mode one of ours comes behind them.
        if not isinstance(found.get("modules") or [], list):
            problems.append(
                _problem(path, "sets modules to no list", "write one, with - module: NAME")
            )
        options.update(found)
    problems.extend(_misnamed(paths))
    problems.extend(_contradictions(settings, options))
    registrations: tuple[str, ...] = ()
    try:
        registrations = _registrations(settings, options)
    except OSError as error:
        problems.append(
            Problem(
                variable="SYNAPSE_AS_REGISTRATION_DIR",
                value=settings.as_registration_dir,
                message=f"cannot be read: {error.strerror}",
                hint="give a directory that holds the registration files of application services",
            )
        )
    if problems:
        raise ConfigError(problems)
    return OperatorFiles(
        paths=tuple(str(path) for path in paths),
        registrations=registrations,
        options=MappingProxyType(options),
    )


def homeserver_yaml(settings: Settings) -> Path:
    """Where the operator's homeserver.yaml is, if there is one."""
    return Path(settings.config_path or f"{settings.config_dir or settings.data}/homeserver.yaml")


def _directories(settings: Settings) -> Iterator[Path]:
    """The directories of further files, in the order in which Synapse reads them."""
    for place in dict.fromkeys((settings.data, settings.config_dir or settings.data)):
        yield Path(place, "homeserver.d")
    if settings.extra_configuration is not None:
        yield Path(settings.extra_configuration)


def _missing(settings: Settings) -> Iterator[Problem]:
    """A homeserver.yaml that was named and is not there: with SYNAPSE_SERVER_NAME it is not
    needed, and Synapse's worker image would have made one; without, it was to have the name in it.
    """
    path = settings.config_path
    named = "SYNAPSE_SERVER_NAME" in settings.given
    if path is not None and not named and not Path(path).is_file():
        yield Problem(
            variable="SYNAPSE_CONFIG_PATH",
            value=path,
            message="is not a file",
            hint="give the path of your homeserver.yaml, or set SYNAPSE_SERVER_NAME to do without",
        )


def _misnamed(paths: list[Path]) -> Iterator[Problem]:
    """A name that supervisord's configuration, which has the paths in it, would misread."""
    for path in paths:
        if not re.fullmatch(r"[\w .@+,=-]+", path.name, re.ASCII):
            yield _problem(
                path,
                "has a name with unusual characters",
                "use letters, digits, spaces and . _ - + = , @ in it",
            )


def _registrations(settings: Settings, options: Mapping[str, Any]) -> tuple[str, ...]:
    directory = Path(settings.as_registration_dir or settings.paths.appservices)
    # Synapse's image takes those when it writes a homeserver.yaml, which names them from then on.
    unnamed = settings.as_registration_dir is None
    if unnamed and ("app_service_config_files" in options or not directory.is_dir()):
        return ()
    files = (path for path in directory.iterdir() if path.suffix.lower() in (".yaml", ".yml"))
    return tuple(sorted(str(path) for path in files))


def _problem(path: Path, message: str, hint: str) -> Problem:
    return Problem(variable=str(path), value=None, message=message, hint=hint)


def _contradictions(settings: Settings, options: Mapping[str, Any]) -> Iterator[Problem]:
    name = options.get("server_name", settings.server_name)
    if "SYNAPSE_SERVER_NAME" in settings.given and name != settings.server_name:
        yield Problem(
            variable="SYNAPSE_SERVER_NAME",
            value=settings.server_name,
            message=f"differs from server_name in the operator's files, {name!r}",
            hint="unset the variable, or correct the one that is wrong: it cannot change later",
        )
