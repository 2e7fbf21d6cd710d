"""A layout, and the view that each of its processes has: its own options and the shared ones.

Two processes whose views of a shared list differ may corrupt the database, so views decide which
processes stop together. Amounts of the budget are no part of a view: a process can go on with those
that it has.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from ganglion.files.file import File
from ganglion.programs.program import Plan, Program
from ganglion.programs.registry import programs
from ganglion.programs.synapse.options import config_paths
from ganglion.topology.names import MAIN, MAIN_AS_WRITER
from ganglion.topology.topology import Process

# The amounts of the budget in Synapse's options. cp_min and cp_max are among the database's `args`.
AMOUNTS = frozenset({"event_cache_size", "caches"})
POOL = frozenset({"cp_min", "cp_max"})
Options = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A plan with its rendered files, by their paths below the conf directory."""

    plan: Plan
    files: Mapping[str, str]

    @property
    def processes(self) -> dict[str, Process]:
        """The processes of this container by their names, main first."""
        return {process.name: process for process in self.plan.topology.here}


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The knowledge of one process. `own` is all of its options and settings that nobody shares.

    `shared` are the options by which processes agree, as far as it reads them. Both are texts.
    """

    own: str
    shared: Mapping[str, str]


def layout(plan: Plan, files: tuple[File, ...]) -> Layout:
    """Return the layout of a plan and its rendered files."""
    return Layout(plan=plan, files={file.path: file.content for file in files})


def _all(_option: object, _instance: str) -> bool:
    return True


def _members(option: object, instance: str) -> bool:
    return isinstance(option, list) and instance in option


def _main_and_members(option: object, instance: str) -> bool:
    return instance == MAIN_AS_WRITER or _members(option, instance)


# Which processes read each shared option. Synapse 1.163.2:
SHARED: Mapping[str, Callable[[object, str], bool]] = {
    # Every store makes a MultiWriterIdGenerator of each stream: storage/databases/main/*.py. At its
    # start it deletes the positions of writers that it does not know.
    "stream_writers": _all,
    # replication/http/_base.py: the addresses of all that answer other processes.
    "instance_map": _all,
    # http/matrixfederationclient.py
    "outbound_federation_restricted_to": _all,
    # federation/send_queue.py in main, which waits for each sender; the senders themselves shard
    # by the list.
    "federation_sender_instances": _main_and_members,
    # push/pusherpool.py: others do not start any.
    "pusher_instances": _members,
}
# Jobs of one process. Every other reads only that it is not the one: config/workers.py.
JOBS: Mapping[str, str] = {
    "run_background_tasks_on": "background tasks",
    "update_user_directory_from_worker": "the user directory",
    "notify_appservices_from_worker": "application services",
    "media_instance_running_background_jobs": "media's background jobs",
}


class Views:
    """The views of a layout's processes. Each file is parsed once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._parsed: dict[str, Options] = {}
        self._programs = {program.name: program for program in programs(layout.plan)}

    def of(self, process: Process) -> View:
        """Return the view of a process of this layout."""
        options = self._options(process)
        own = {
            name: value
            for name, value in options.items()
            if name not in AMOUNTS and name not in SHARED and name not in JOBS
        }
        own["database"] = _without_pool(options.get("database"))
        return View(own=_text([own, self._settings(process)]), shared=self.shared(process.name))

    def shared(self, name: str) -> dict[str, str]:
        """Return the shared options as far as a process of this name reads them, or would."""
        options, instance = self._common(), MAIN_AS_WRITER if name == MAIN else name
        lists = {
            option: _text(options.get(option))
            for option, reads in SHARED.items()
            if reads(options.get(option), instance)
        }
        # None means main.
        jobs = {
            option: "yes" for option in JOBS if (options.get(option) or MAIN_AS_WRITER) == instance
        }
        return lists | jobs

    def _settings(self, process: Process) -> list[object]:
        """The settings beside its options: how it is started, and the options of its log."""
        program: Program = self._programs[process.name]
        return [
            program.command,
            program.account,
            program.environment,
            program.health,
            program.listens,
            self._layout.files.get(f"synapse/log/{process.name}.yaml"),
        ]

    def _common(self) -> Options:
        return self._options(self._layout.plan.topology.main)

    def _options(self, process: Process) -> Options:
        plan = self._layout.plan
        prefix = plan.settings.paths.conf_file("")
        merged: dict[str, Any] = {}
        for path in config_paths(plan.settings, plan.operator, process):
            # The operator's own files are the same in both layouts.
            if path.startswith(prefix):
                merged.update(self._parse(path.removeprefix(prefix)))
        return merged

    def _parse(self, path: str) -> Options:
        if path not in self._parsed:
            text = self._layout.files[path]
            self._parsed[path] = yaml.load(text, Loader=yaml.CSafeLoader) or {}
        return self._parsed[path]


def _without_pool(database: object) -> object:
    if not isinstance(database, Mapping):
        return database
    args = {name: item for name, item in database["args"].items() if name not in POOL}
    return {**database, "args": args}


def _text(value: object) -> str:
    return json.dumps(value, sort_keys=True)
