"""The operator's own Synapse configuration: homeserver.yaml and homeserver.d/*.yaml.

They are in the data directory, or in the places that the variables of Synapse's images name. They
are only read, never written.
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from ganglion.errors import ConfigError, Problem, reason
from ganglion.settings import bounded_yaml, owned_options, parsers
from ganglion.settings.reading import LARGEST_YAML, read_text
from ganglion.settings.variables import Settings

# Options that Ganglion adds to or reads, with an example of their content. Each item of a list is
# of the named type.
LISTS: dict[str, tuple[type, str]] = {
    "app_service_config_files": (str, "FILE"),
    "modules": (dict, "module: NAME"),
}
TEXTS = ("media_store_path", "database_path", "public_baseurl")
MAPPINGS = {"database": "name: psycopg2", "redis": "host: NAME"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorFiles:
    """The files in the order in which Synapse reads them, and their merged options.

    `sources` has the file that set each option last. `registrations` are the files of application
    services: those in SYNAPSE_AS_REGISTRATION_DIR, or those in `appservices` in the data directory
    if the options list none.
    """

    paths: tuple[str, ...] = ()
    registrations: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    sources: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    # Texts of registrations that Synapse's account may not read, by their paths.
    copies: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    def section(self, option: str) -> Mapping[str, Any]:
        """Return the value of an option that is a mapping; empty if the files do not set it."""
        value = self.options.get(option)
        return value if isinstance(value, Mapping) else {}

    @property
    def all_registrations(self) -> tuple[str, ...]:
        """The registrations that the options name, and those of the directory."""
        named = self.options.get("app_service_config_files") or []
        return tuple(dict.fromkeys([*map(str, named), *self.registrations]))

    @property
    def any_locale(self) -> bool:
        """Whether the operator accepts a database with a locale that Synapse calls unsafe."""
        return self.section("database").get("allow_unsafe_locale") is True


def delegates_accounts(files: OperatorFiles) -> bool:
    """Return whether the files give all accounts to the Matrix Authentication Service."""
    section = files.section("matrix_authentication_service")
    experiment = files.section("experimental_features").get("msc3861")
    found = (section, experiment if isinstance(experiment, Mapping) else {})
    return any(item.get("enabled") is True for item in found)


def load(settings: Settings) -> OperatorFiles:
    """Read the files. Raises ConfigError with every problem in them."""
    # Also a link that leads nowhere, as after a mount that failed: it is meant to be read. Docker
    # makes a directory of a file that it cannot mount.
    paths = [path for path in (homeserver_yaml(settings),) if os.path.lexists(path)]
    for directory in _directories(settings):
        paths += sorted(path for path in directory.glob("*.yaml") if not path.is_dir())
    problems: list[Problem] = list(_missing(settings))
    options: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for path in paths:
        try:
            found = bounded_yaml.load(read_text(path, LARGEST_YAML))
        # ValueError: the file is not UTF-8.
        except (OSError, ValueError, yaml.YAMLError) as error:
            problems.append(_problem(path, f"cannot be read: {reason(error)}", "correct the file"))
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
        # Synapse has no option with another name than a text.
        found = {name: value for name, value in found.items() if isinstance(name, str)}
        problems.extend(_wrong_types(path, found))
        options.update(found)
        sources.update(dict.fromkeys(found, str(path)))
    problems.extend(
        _problem(Path(sources[row.option]), f"sets {row.option}", f"{row.fix}; {row.why}")
        for row in owned_options.refused(options)
    )
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
        sources=MappingProxyType(sources),
    )


def _wrong_types(path: Path, found: Mapping[Any, Any]) -> Iterator[Problem]:
    """Yield options that Ganglion reads and whose value is of another type than Synapse's."""
    for option, (kind, example) in LISTS.items():
        value = found.get(option) or []
        hint = f"write a list with a line `- {example}` for each"
        if not isinstance(value, list):
            yield _problem(path, f"sets {option} to something other than a list", hint)
        elif not all(isinstance(item, kind) for item in value):
            word = "text" if kind is str else "mapping"
            yield _problem(path, f"has an item of {option} that is not a {word}", hint)
    for option in TEXTS:
        if not isinstance(found.get(option) or "", str):
            yield _problem(path, f"sets {option} to something other than a text", "correct it")
    for option, example in MAPPINGS.items():
        if not isinstance(found.get(option) or {}, dict):
            yield _problem(
                path,
                f"sets {option} to something other than a mapping",
                f"write indented lines such as `{example}` below it",
            )
    if "server_name" in found and not _is_server_name(found["server_name"]):
        yield _problem(
            path,
            f"sets server_name to {found['server_name']!r}, which is not a server name",
            "write the domain behind the : of your user IDs, such as example.org, in quotes",
        )


def _is_server_name(value: object) -> bool:
    """Whether Synapse takes it, which takes capital letters too."""
    if not isinstance(value, str):
        return False
    try:
        parsers.server_name(value.lower())
    except parsers.Invalid:
        return False
    return True


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
