"""Read Synapse's configuration once, in the supervisor, for every process forked from it.

Reading it compiles templates and checks schemas: four fifths of a forked process's work until it is
ready, and a third of the memory that it writes to. All processes read the same files except for a
worker's own, and only the sections in SECTIONS depend on that one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# The sections of Synapse's configuration that differ between its processes, as Ganglion renders
# them: they read worker_app, worker_name, worker_listeners, worker_log_config, enable_media_repo,
# and each process's part of the budget (database, event_cache_size, caches). A test reads every
# process's configuration both ways and compares.
SECTIONS = ("worker", "media", "database", "caches")
# With these options Synapse imports the operator's modules, which a restart must import anew.
IMPORTING = frozenset(
    {
        "modules",
        "password_providers",
        "presence_router",
        "spam_checker",
        "third_party_event_rules",
    }
)
# Ganglion's own modules do not change while it runs, so they may be imported before the fork.
OWN_MODULES = "ganglion."


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedConfig:
    """Main's configuration, with the files it was read from and their digests at that time."""

    config: Any
    options: dict[str, Any]
    files: tuple[str, ...]
    digests: tuple[str, ...]

    def for_process(self, files: Sequence[str]) -> Any:
        """Return the configuration of a process that has these files; None if it must read them.

        The files must be main's, unchanged, plus at most one of the process's own. Call this in the
        process itself, because it changes the shared object.
        """
        common, own = tuple(files[: len(self.files)]), files[len(self.files) :]
        if common != self.files or len(own) > 1 or _digests(common) != self.digests:
            return None
        self.config.config_files = list(files)
        if own:
            options = {**self.options, **yaml.safe_load(Path(own[0]).read_text(encoding="utf-8"))}
            for name in SECTIONS:
                self._read_again(name, options, str(Path(own[0]).parent))
        return self.config

    def _read_again(self, name: str, options: dict[str, Any], directory: str) -> None:
        section = type(getattr(self.config, name))(self.config)
        section.read_config(
            options,
            config_dir_path=directory,
            data_dir_path=str(Path.cwd()),
            allow_secrets_in_config=True,
        )
        setattr(self.config, name, section)


def read(files: Sequence[str]) -> SharedConfig | None:
    """Read main's files. Return None if each process must read them itself.

    That is so when they name modules to import, or cannot be read: then main reports the error.
    """
    from synapse.config._base import read_config_files
    from synapse.config.homeserver import HomeServerConfig

    words = [word for file in files for word in ("--config-path", file)]
    try:
        digests = _digests(files)
        options = read_config_files(list(files))
        if _imports(options):
            return None
        config = HomeServerConfig.load_config("Synapse", words)
    except (Exception, SystemExit):  # noqa: BLE001 - main meets the same error and reports it
        return None
    return SharedConfig(config=config, options=options, files=tuple(files), digests=digests)


def _imports(options: Mapping[str, Any]) -> bool:
    """Return whether the configuration imports modules of the operator's."""
    others = IMPORTING & options.keys()
    modules = options.get("modules")
    if isinstance(modules, list) and all(map(_is_own, modules)):
        others -= {"modules"}
    return bool(others)


def _is_own(module: object) -> bool:
    return isinstance(module, dict) and str(module.get("module")).startswith(OWN_MODULES)


def _digests(files: Sequence[str]) -> tuple[str, ...]:
    return tuple(hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files)
