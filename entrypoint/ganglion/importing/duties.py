"""The work of each old worker, in the roles of Ganglion.

Synapse's configuration says which streams and jobs a worker has. It does not say which requests:
the old proxy decided that. The worker's application, its name and its listeners tell.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.importing.findings import OldFile, OldServer, OldWorker
from ganglion.topology.names import MAIN, MAIN_AS_WRITER
from ganglion.topology.roles import BY_NAME, LEGACY_APPS, ROLES, Kind

GENERIC = "synapse.app.generic_worker"
APP = "synapse.app."
# The form of each job that Synapse deprecated: a switch for main, and an application.
SWITCHES = {
    "send_federation": "federation_sender",
    "start_pushers": "pusher",
    "notify_appservices": "appservice",
    "update_user_directory": "user_dir",
}
# `ganglion export` writes a worker's roles into its file. Synapse ignores this option.
ROLES_OPTION = "ganglion_roles"
MEDIA_ROLES = ("media_repository", "quarantined_media_changes")
CLIENT_ROLES = (
    "synchrotron",
    "initial_synchrotron",
    "client_reader",
    "event_creator",
    "login",
    "room_reader",
    "frontend_proxy",
)
FEDERATION_ROLES = ("federation_reader", "federation_inbound")
# Words in names of generic workers, and the requests that such a worker got. The first that fits.
WORDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("initial[-_]?sync", ("initial_synchrotron",)),
    ("sync", ("synchrotron", "initial_synchrotron")),
    ("federation[-_]?inbound|inbound", ("federation_inbound",)),
    ("federation", FEDERATION_ROLES),
    ("event[-_]?(creator|sender)", ("event_creator",)),
    ("frontend[-_]?proxy", ("frontend_proxy",)),
    ("login|register|registration", ("login",)),
    ("room", ("room_reader", "event_creator")),
    ("client", ("client_reader", "login")),
)
ORDER = {role.name: number for number, role in enumerate(ROLES)}
STREAMS = {role.stream: role for role in ROLES if role.stream}


@dataclass(frozen=True, slots=True, kw_only=True)
class Duties:
    """The old workers, the lists by which Synapse divides work, and remarks."""

    workers: tuple[OldWorker, ...]
    lists: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Found:
    """The facts about the workers while the files are read."""

    roles: dict[str, set[str]] = field(default_factory=dict)
    sources: dict[str, str] = field(default_factory=dict)
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


def duties(server: OldServer) -> Duties:
    """Find out the roles of each worker. Raises ConfigError with every contradiction."""
    found = _Found()
    files = dict(_named(server.workers, found))
    for name, file in files.items():
        found.roles[name] = set()
        found.sources[name] = file.path
    options, sources = server.options, server.sources
    for role, key, names in _assigned(options, files, found, sources):
        _give(found, role, key, names, sources.get(key.partition(".")[0], ""))
    for name, file in files.items():
        found.roles[name] |= _own(file)
    if found.problems:
        raise ConfigError(found.problems)
    told = {name for name, file in files.items() if _take_exported(found.roles[name], file)}
    _requests({name: file for name, file in files.items() if name not in told}, found)
    workers = tuple(
        OldWorker(
            name=name,
            source=found.sources[name],
            roles=tuple(sorted(roles, key=ORDER.__getitem__)),
        )
        for name, roles in found.roles.items()
    )
    found.notes.extend(_idle_switches(options, workers))
    idle = [worker.name for worker in workers if not worker.roles]
    found.notes.extend(
        f"{name} has no listener for requests and no job, so it is left out" for name in idle
    )
    return Duties(
        workers=tuple(worker for worker in workers if worker.roles),
        lists=found.lists,
        notes=tuple(found.notes),
    )


def _idle_switches(options: Mapping[str, Any], workers: tuple[OldWorker, ...]) -> Iterator[str]:
    """Yield a note for each job that the old main left to a worker that is not there."""
    for switch, role in SWITCHES.items():
        given = options.get(switch)
        if given is False and not any(role in worker.roles for worker in workers):
            yield f"{switch} is false and no worker does it; main does it from now on"


def _named(files: tuple[OldFile, ...], found: _Found) -> Iterator[tuple[str, OldFile]]:
    """Yield each worker's file by its name. Before 2020, workers had none."""
    taken: dict[str, str] = {}
    for file in files:
        app, given = file.options.get("worker_app"), file.options.get("worker_name")
        known = isinstance(app, str) and (app == GENERIC or app in LEGACY_APPS)
        if not known:
            message = f"unknown application {app!r} in worker_app"
            hint = f"write {GENERIC}, or remove the file from the directory"
            found.problems.append(_problem(file.path, message, hint))
            continue
        if given is not None and (not isinstance(given, str) or not given):
            message = f"has {given!r} as worker_name, which is not a text"
            found.problems.append(_problem(file.path, message, "write it in quotes"))
            continue
        name = given or _free(str(app).removeprefix(APP), taken)
        if name in taken:
            message = f"has the worker_name {name}, as {taken[name]} has"
            hint = "give each worker a name of its own, or remove the file that is not in use"
            found.problems.append(_problem(file.path, message, hint))
            continue
        taken[name] = file.path
        yield name, file


def _free(base: str, taken: Mapping[str, str]) -> str:
    number = 1
    while f"{base}{number}" in taken:
        number += 1
    return f"{base}{number}"


def _assigned(
    options: Mapping[str, Any],
    files: Mapping[str, OldFile],
    found: _Found,
    sources: Mapping[str, str],
) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield each role that shared options give away, the option, and the workers in order."""
    writers = options.get("stream_writers") or {}
    if not isinstance(writers, Mapping):
        message = "sets stream_writers to something other than a mapping"
        found.problems.append(_problem(sources["stream_writers"], message, "correct it"))
        writers = {}
    for stream, value in writers.items():
        if stream not in STREAMS:
            message = f"has the unknown stream {stream!r} in stream_writers"
            hint = f"the streams are {', '.join(STREAMS)}"
            found.problems.append(_problem(sources["stream_writers"], message, hint))
            continue
        yield STREAMS[stream].name, f"stream_writers.{stream}", _names(value)
    for role in ROLES:
        key = role.list_key or role.singleton_key
        if key is None:
            continue
        if options.get(key) is not None:
            yield role.name, key, _names(options[key])
            continue
        # The deprecated form: the worker of an application of its own.
        switch = next((name for name, of in SWITCHES.items() if of == role.name), None)
        yield (
            role.name,
            switch or key,
            tuple(
                name
                for name, file in files.items()
                if file.options["worker_app"] == f"{APP}{role.name}"
                or (switch is not None and file.options.get(switch) is True)
            ),
        )
    media = options.get("media_instance_running_background_jobs")
    if isinstance(media, str) and media not in (*files, MAIN_AS_WRITER, MAIN):
        yield "media_repository", "media_instance_running_background_jobs", (media,)


def _names(value: object) -> tuple[str, ...]:
    """The workers that an option names, a name or a list of names. Older lists were mappings."""
    items = [value] if isinstance(value, str) else value
    return tuple(str(item) for item in items) if isinstance(items, list | dict) else ()


def _give(found: _Found, role: str, key: str, names: tuple[str, ...], source: str) -> None:
    """Give a role to workers. Those without a file are taken over from the list."""
    workers = tuple(name for name in names if name not in (MAIN, MAIN_AS_WRITER))
    doubles = sorted({name for name in names if names.count(name) > 1})
    if doubles:
        found.problems.append(
            _problem(source or key, f"lists {doubles[0]} twice in {key}", "list it once")
        )
    if workers and len(workers) != len(names):
        message = f"lists main beside workers in {key}, which Ganglion cannot do"
        hint = "let either main or workers do this, and restart the old server with it first"
        found.problems.append(_problem(source or key, message, hint))
    limit = BY_NAME[role].limit
    if limit is not None and len(workers) > limit:
        message = f"gives {key} to {len(workers)} workers; Synapse allows {limit}"
        hint = f"keep one of {', '.join(workers)}"
        found.problems.append(_problem(source or workers[0], message, hint))
    if len(workers) > 1:
        found.lists[role] = workers
    for name in workers:
        if name not in found.roles:
            found.roles[name] = set()
            found.sources[name] = source
            found.notes.append(
                f"{name} is in {key} and has no file of its own; it is taken over with this role"
            )
        found.roles[name].add(role)


def _own(file: OldFile) -> set[str]:
    """The roles that a worker's own file gives it, besides those for requests."""
    app = file.options["worker_app"]
    serves_media = app == GENERIC and "media" in _resources(file)
    if app == f"{APP}media_repository" or (
        serves_media and file.options.get("enable_media_repo") is not False
    ):
        return {"media_repository"}
    return set()


def _resources(file: OldFile) -> set[str]:
    """The names of the resources of a worker's listeners."""
    names: set[str] = set()
    listeners = file.options.get("worker_listeners")
    for listener in listeners if isinstance(listeners, list) else ():
        resources = listener.get("resources") if isinstance(listener, Mapping) else None
        for resource in resources if isinstance(resources, list) else ():
            given = resource.get("names") if isinstance(resource, Mapping) else None
            names.update(str(name) for name in _names(given))
    return names


def _requests(files: Mapping[str, OldFile], found: _Found) -> None:
    """Add the roles for requests. Generic workers get those that no other worker is named for."""
    rest: dict[str, tuple[str, ...]] = {}
    special: set[str] = set()
    for name, file in files.items():
        app, resources = file.options["worker_app"], _resources(file)
        own = LEGACY_APPS.get(app) if app != GENERIC else None
        if own is not None and BY_NAME[own].kind is Kind.GENERIC:
            extra = {"synchrotron": ("initial_synchrotron",)}.get(own, ())
            roles: tuple[str, ...] = (own, *extra)
            if own == "federation_reader":
                roles = FEDERATION_ROLES
            found.roles[name].update(roles)
            special.update(roles)
            continue
        possible = (
            *(CLIENT_ROLES if "client" in resources else ()),
            *(FEDERATION_ROLES if "federation" in resources else ()),
        )
        # Its listener is for the requests of its own streams and jobs.
        if own is not None or any(BY_NAME[role].resources for role in found.roles[name]):
            continue
        if not possible:
            continue
        named = _by_name(name, possible)
        # A writer of events or a job without requests of its own.
        if found.roles[name] and named is None and not re.search("generic", name):
            continue
        if named is None:
            rest[name] = possible
        else:
            found.roles[name].update(named)
            special.update(named)
    for name, possible in rest.items():
        left = [role for role in possible if role not in special]
        found.roles[name].update(left or possible)


def _take_exported(roles: set[str], file: OldFile) -> bool:
    """Add the roles that `ganglion export` wrote into a worker's file. Returns whether it did."""
    given = [role for role in _names(file.options.get(ROLES_OPTION)) if role in BY_NAME]
    roles.update(role for role in given if BY_NAME[role].kind is Kind.GENERIC)
    if given:
        # A worker with one of these has the listener and the stream of the other.
        roles -= set(MEDIA_ROLES) - set(given)
    return bool(given)


def _by_name(name: str, possible: tuple[str, ...]) -> tuple[str, ...] | None:
    """The roles that a worker's name tells, out of those that its listeners can serve."""
    for role in (*CLIENT_ROLES, *FEDERATION_ROLES):
        if role in possible and re.search(role.replace("_", "[-_]?"), name.lower()):
            extra = {"synchrotron": ("initial_synchrotron",), "federation_reader": FEDERATION_ROLES}
            roles = dict.fromkeys((role, *extra.get(role, ())))
            if role == "synchrotron" and re.search("initial", name.lower()):
                return ("initial_synchrotron",)
            return tuple(item for item in roles if item in possible)
    for word, roles_of_word in WORDS:
        if re.search(word, name.lower()):
            fitting = tuple(role for role in roles_of_word if role in possible)
            return fitting or None
    return None


def _problem(where: str, message: str, hint: str) -> Problem:
    return Problem(variable=where, value=None, message=message, hint=hint)
