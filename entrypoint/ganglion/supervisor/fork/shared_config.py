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

from ganglion.machine.acting import acting_as

# The sections of Synapse's configuration that differ between its processes, as Ganglion renders
# them: they read worker_app, worker_name, worker_listeners, worker_log_config, enable_media_repo,
# and each process's part of the budget (database, event_cache_size, caches). A test reads every
# process's configuration both ways and compares.
SECTIONS = ("worker", "media", "database", "caches")
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


def read(files: Sequence[str], account: str | None) -> SharedConfig | None:
    """Read main's files with the rights of `account`. Return None if each process must read them.

    That is so when the options name modules of others, whose code this process must not run and
    which a restart must import anew; and when the files cannot be read: main reports the error.
    """
    from synapse.config._base import read_config_files
    from synapse.config.homeserver import HomeServerConfig

    words = [word for file in files for word in ("--config-path", file)]
    try:
        with acting_as(account):
            digests = _digests(files)
            options = read_config_files(list(files))
            if _imports(options):
                return None
            config = HomeServerConfig.load_config("Synapse", words)
    except (Exception, SystemExit):  # noqa: BLE001 - main meets the same error and reports it
        return None
    return SharedConfig(config=config, options=options, files=tuple(files), digests=digests)


def _imports(value: object) -> bool:
    """Return whether options name a module to import that is not Ganglion's.

    Synapse's options name one as `module` wherever they take one: modules, storage providers,
    password providers, mappings of SSO users, spam checkers and more.
    """
    if isinstance(value, list):
        return any(map(_imports, value))
    if not isinstance(value, Mapping):
        return False
    module = value.get("module")
    if module is not None and not str(module).startswith(OWN_MODULES):
        return True
    return any(map(_imports, value.values()))


def _digests(files: Sequence[str]) -> tuple[str, ...]:
    return tuple(hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files)
