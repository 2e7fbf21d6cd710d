"""The operator's own Synapse configuration: homeserver.yaml and homeserver.d/*.yaml.

They are in the data directory, or in the places that the variables of Synapse's images name. They
are only read, never written.
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

# Rejected options, each with the reason: they concern a single process, while the topology decides
# for all of them; or Synapse rejects them beside their modern form, which overrides.yaml contains.
# See WorkerConfig in synapse/config/workers.py.
REJECTED = {
    "worker_app": "WORKERS decides which workers run",
    "worker_name": "WORKERS decides which workers run",
    "worker_listeners": "the listeners of each worker are generated",
    "notify_appservices": "add the role appservice to WORKERS instead",
    "update_user_directory": "add the role user_dir to WORKERS instead",
    "databases": "only one database is supported; see docs/configuration.md",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFiles:
    """The files in the order in which Synapse reads them, and their merged options.

    `registrations` are the files of application services: those in SYNAPSE_AS_REGISTRATION_DIR, or
    those in `appservices` in the data directory if the options list none.
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
        """Whether the operator accepts a database with a locale that Synapse calls unsafe."""
        database = self.options.get("database")
        return isinstance(database, dict) and database.get("allow_unsafe_locale") is True


def load(settings: Settings) -> OperatorFiles:
    """Read the files. Raises ConfigError with every problem in them."""
    paths = [path for path in (homeserver_yaml(settings),) if path.is_file()]
    for directory in _directories(settings):
        paths += sorted(path for path in directory.glob("*.yaml") if path.is_file())
    problems: list[Problem] = list(_missing(settings))
    options: dict[str, Any] = {}
    for path in paths:
        try:
            found = yaml.safe_load(path.read_text(encoding="utf-8"))
        # ValueError: the file is not UTF-8, or contains a value such as the date 2026-13-01.
        except (OSError, ValueError, yaml.YAMLError) as error:
            problems.append(_problem(path, f"cannot be read: {error}", "correct the file"))
            continue
        if found is None:
            continue
        if not isinstance(found, dict):
            problems.append(
                _problem(
                    path, "is not a mapping of options", "write it as lines of `option: value`"
                )
            )
            continue
        problems.extend(
            _problem(path, f"sets {option}", f"remove it; {why}")
            for option, why in REJECTED.items()
            if option in found
        )
        if not isinstance(found.get("app_service_config_files", []), list):
            problems.append(
                _problem(
                    path,
                    "sets app_service_config_files to something other than a list",
                    "write a list with a line `- FILE` for each",
                )
            )
        # In test mode, the test agent is appended to this list.
        if not isinstance(found.get("modules") or [], list):
            problems.append(
                _problem(
                    path,
                    "sets modules to something other than a list",
                    "write a list with a line `- module: NAME` for each",
                )
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
                hint="give a directory with the registration files of application services",
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
    """Return the path of the operator's homeserver.yaml, which need not exist."""
    return Path(settings.config_path or f"{settings.config_dir or settings.data}/homeserver.yaml")


def _directories(settings: Settings) -> Iterator[Path]:
    """Yield the directories of further files, in the order in which Synapse reads them."""
    for place in dict.fromkeys((settings.data, settings.config_dir or settings.data)):
        yield Path(place, "homeserver.d")
    if settings.extra_configuration is not None:
        yield Path(settings.extra_configuration)


def _missing(settings: Settings) -> Iterator[Problem]:
    """Yield a problem if SYNAPSE_CONFIG_PATH names a missing file that is needed.

    With SYNAPSE_SERVER_NAME it is not needed; Synapse's worker image generates it then. Without,
    the file should contain the server's name.
    """
    path = settings.config_path
    named = "SYNAPSE_SERVER_NAME" in settings.given
    if path is not None and not named and not Path(path).is_file():
        yield Problem(
            variable="SYNAPSE_CONFIG_PATH",
            value=path,
            message="is not a file",
            hint="give the path of your homeserver.yaml, or set SYNAPSE_SERVER_NAME to run without",
        )


def _misnamed(paths: list[Path]) -> Iterator[Problem]:
    """Yield file names that supervisord would misread in its configuration."""
    for path in paths:
        if not re.fullmatch(r"[\w .@+,=-]+", path.name, re.ASCII):
            yield _problem(
                path,
                "has an unsupported character in its name",
                "use only letters, digits, spaces and . _ - + = , @",
            )


def _registrations(settings: Settings, options: Mapping[str, Any]) -> tuple[str, ...]:
    directory = Path(settings.as_registration_dir or settings.paths.appservices)
    # When Synapse's image writes a homeserver.yaml, it lists the files of the default directory.
    # From then on, only that list counts.
    is_default = settings.as_registration_dir is None
    if is_default and ("app_service_config_files" in options or not directory.is_dir()):
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
            message=f"differs from server_name in your files, {name!r}",
            hint="unset SYNAPSE_SERVER_NAME or correct the wrong name: it cannot change later",
        )
