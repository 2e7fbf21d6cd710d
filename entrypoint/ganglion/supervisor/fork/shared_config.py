"""Synapse's configuration, read once in supervisord for every process that is forked from there.

To read it takes four fifths of what a forked process does until it is ready, and a third of the
memory it writes to: templates are compiled and schemas checked. All processes read the same files
but for a worker's own, and of that only what SECTIONS names depends.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ganglion.programs.synapse.options import AGENT

# The sections of Synapse's configuration that differ between its processes, as rendered: from
# worker_app, worker_name, worker_listeners, worker_log_config and enable_media_repo, and from what
# each is given of the budget: database, event_cache_size and caches. A test reads every process's
# configuration both ways and compares.
SECTIONS = ("worker", "media", "database", "caches")
# With these the configuration imports modules of the operator's, which a restart must find anew.
IMPORTING = frozenset(
    {
        "modules",
        "password_providers",
        "presence_router",
        "spam_checker",
        "third_party_event_rules",
    }
)
# Our own module is a part of the program, which no restart finds anew.
OUR_MODULES = frozenset({AGENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedConfig:
    """What main's files say, and what they were when they were read."""

    config: Any
    options: dict[str, Any]
    files: tuple[str, ...]
    digests: tuple[str, ...]

    def for_process(self, files: Sequence[str]) -> Any:
        """The configuration of a process with these files, or None where it must read them itself.

        The files must be main's, unchanged, and after them at most one of the process's own. To be
        called in the process itself: it changes what is shared.
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
    """Read main's files, or return None where that must be left to main.

    So it is when they cannot be read, which main says best, or name modules to import.
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
    except (Exception, SystemExit):  # noqa: BLE001 - whatever it is, main tells it too
        return None
    return SharedConfig(config=config, options=options, files=tuple(files), digests=digests)


def _imports(options: Mapping[str, Any]) -> bool:
    """Whether the configuration imports modules of the operator's."""
    modules = options.get("modules")
    if isinstance(modules, list):
        names = [item.get("module") for item in modules if isinstance(item, dict)]
        if OUR_MODULES.issuperset(names) and len(names) == len(modules):
            return bool((IMPORTING - {"modules"}) & options.keys())
    return bool(IMPORTING & options.keys())


def config_files(command: Sequence[str]) -> tuple[str, ...]:
    """The files that a command names with --config-path."""
    words = list(command)
    return tuple(
        words[index + 1] for index, word in enumerate(words[:-1]) if word == "--config-path"
    )


def _digests(files: Sequence[str]) -> tuple[str, ...]:
    return tuple(hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in files)
