"""The fate of every option of the old files, and the options that Ganglion goes on with."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.importing.findings import Fate, Finding, OldFile, OldServer
from ganglion.importing.synapse_options import FORMER, KNOWN
from ganglion.settings.owned_options import BY_OPTION, Owned
from ganglion.settings.owned_options import Fate as Ownership

# Options that say which process does what.
IN_WORKERS = frozenset(
    {
        "federation_sender_instances",
        "ganglion_roles",
        "media_instance_running_background_jobs",
        "notify_appservices",
        "notify_appservices_from_worker",
        "pusher_instances",
        "run_background_tasks_on",
        "send_federation",
        "start_pushers",
        "stream_writers",
        "update_user_directory",
        "update_user_directory_from_worker",
        "worker_app",
        "worker_name",
    }
)
# Options that live on elsewhere than in homeserver.d.
ELSEWHERE = {
    **dict.fromkeys(IN_WORKERS - {"worker_app"}, "WORKERS"),
    "server_name": "SYNAPSE_SERVER_NAME",
    "signing_key_path": "DOMAIN.signing.key in the data directory, where Ganglion looks for it",
    "media_store_path": "media_store in the data directory, where Ganglion looks for it",
    "app_service_config_files": "appservices in the data directory, which Ganglion reads",
}
KEPT = "homeserver.d"
# The default of HTTP_PORT.
HTTP_PORT = 8008


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The findings, the options for homeserver.d, and the variables that options come to."""

    findings: tuple[Finding, ...]
    kept: Mapping[str, Any]
    variables: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(slots=True)
class _Decided:
    """The decisions, while the options are read."""

    kept: dict[str, Any] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def options(server: OldServer, senders: tuple[str, ...]) -> Options:
    """Decide on every option. `senders` are the old workers that send to other homeservers.

    Raises ConfigError if an option cannot be taken over in any way.
    """
    merged, sources = server.options, server.sources
    decided = _Decided()
    findings: list[Finding] = []
    problems: list[Problem] = []
    for file in server.shared:
        for key, value in file.options.items():
            if sources[key] != file.path:
                fate, text = Fate.DROPPED, f"{sources[key]} overrides it"
            else:
                fate, text = _decide(key, value, senders, decided)
            if key == "databases" and value:
                problems.append(_databases(file.path))
            findings.append(Finding(source=file.path, key=key, fate=fate, text=text))
    for file in server.workers:
        findings.extend(_of_worker(file, merged))
    if "server_name" not in merged and "SYNAPSE_SERVER_NAME" not in server.variables:
        problems.append(_nameless(server.shared[0].path if server.shared else "PATH"))
    if problems:
        raise ConfigError(problems)
    return Options(
        findings=tuple(findings),
        kept=decided.kept,
        variables=decided.variables,
        notes=tuple(decided.notes),
    )


def _decide(
    key: str, value: object, senders: tuple[str, ...], decided: _Decided
) -> tuple[Fate, str]:
    """Decide on an option of a shared file."""
    if key == "outbound_federation_restricted_to":
        return _restriction(value, senders, decided)
    if key == "listeners":
        return _listeners(value, decided)
    if key == "database":
        return _database(value, decided)
    if key in ELSEWHERE:
        return Fate.TAKEN, ELSEWHERE[key]
    fate, text = _plain(key, value)
    if fate in (Fate.TAKEN, Fate.UNKNOWN):
        decided.kept[key] = value
    return fate, text


def _plain(key: str, value: object) -> tuple[Fate, str]:
    """Decide on an option whose fate its name alone decides."""
    row = BY_OPTION.get(key)
    if key == "worker_app":
        return Fate.DROPPED, "the main process needs none"
    if row is not None:
        return _owned(row, value)
    if key in FORMER:
        return Fate.DROPPED, FORMER[key]
    if key in KNOWN:
        return Fate.TAKEN, KEPT
    return Fate.UNKNOWN, f"no option of Synapse; kept in {KEPT}, where Synapse ignores it"


def _owned(row: Owned, value: object) -> tuple[Fate, str]:
    if row.option == "redis":
        found = isinstance(value, Mapping) and value.get("host")
        hint = "; set REDIS_HOST to go on with yours" if found else ""
        return Fate.REPLACED, f"the Redis server in the container{hint}"
    if row.option == "database_path":
        return Fate.REPLACED, "PostgreSQL: see --from-sqlite"
    if row.fate is Ownership.REPLACED:
        return Fate.REPLACED, row.why
    if row.fate in (Ownership.DROPPED, Ownership.REFUSED):
        return Fate.DROPPED, row.why
    return Fate.TAKEN, KEPT


def _database(value: object, decided: _Decided) -> tuple[Fate, str]:
    """PostgreSQL stays where it is. SQLite allows no workers."""
    section = value if isinstance(value, Mapping) else {}
    if section.get("name") != "psycopg2":
        decided.notes.append("the database is SQLite, which workers cannot use: see --from-sqlite")
        return Fate.REPLACED, "PostgreSQL: see --from-sqlite"
    args = section.get("args")
    given = dict(args) if isinstance(args, Mapping) else {}
    budget = [name for name in ("cp_min", "cp_max") if given.pop(name, None) is not None]
    decided.kept["database"] = {**section, "args": given}
    host = given.get("host")
    if host in (None, "", "localhost", "127.0.0.1", "::1") or str(host).startswith("/"):
        decided.notes.append(
            "PostgreSQL is on the same machine as the old server: in a container, set POSTGRES_HOST"
            " to an address that the container reaches"
        )
    gone = f"; {' and '.join(budget)} come from the budget" if budget else ""
    return Fate.TAKEN, f"{KEPT}: the same server and database{gone}"


def _listeners(value: object, decided: _Decided) -> tuple[Fate, str]:
    """Keep what main keeps of a listener: settings/operator_listeners.py."""
    left: list[Any] = []
    for listener in value if isinstance(value, list) else ():
        if not isinstance(listener, Mapping):
            continue
        if listener.get("type") == "metrics":
            decided.variables["SYNAPSE_ENABLE_METRICS"] = "1"
            continue
        resources = listener.get("resources")
        items = resources if isinstance(resources, list) else []
        found = [item for item in items if isinstance(item, Mapping)]
        names = [name for item in found for name in _list(item.get("names"))]
        port = listener.get("port")
        plain = "client" in names and listener.get("tls") is not True
        if plain and isinstance(port, int) and port != HTTP_PORT:
            decided.variables.setdefault("HTTP_PORT", str(port))
        compresses = any(item.get("compress") is True for item in found)
        extra = any(listener.get(key) for key in ("additional_resources", "request_id_header"))
        if listener.get("type") == "manhole" or compresses or extra:
            left.append(dict(listener))
    text = "HTTP_PORT and FEDERATION_PORT of nginx, and a socket for each process"
    if left:
        decided.kept["listeners"] = left
        text += f"; {len(left)} kept in {KEPT} for the parts that main keeps"
    return Fate.REPLACED, text


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _restriction(value: object, senders: tuple[str, ...], decided: _Decided) -> tuple[Fate, str]:
    names = {str(name) for name in value} if isinstance(value, list) else set()
    if names and names == set(senders):
        decided.variables["GANGLION_RESTRICT_FEDERATION"] = "yes"
        return Fate.REPLACED, "GANGLION_RESTRICT_FEDERATION=yes"
    text = "GANGLION_RESTRICT_FEDERATION=yes restricts it to the federation_sender workers"
    return Fate.DROPPED, f"{text}; the old list has others"


def _of_worker(file: OldFile, shared: Mapping[str, Any]) -> Iterator[Finding]:
    for key, value in file.options.items():
        row = BY_OPTION.get(key)
        if key in IN_WORKERS or key == "enable_media_repo":
            fate, text = Fate.TAKEN, "WORKERS"
        elif key == "worker_listeners":
            fate, text = Fate.REPLACED, "a socket for each process, for the requests of its roles"
        elif row is not None and row.fate not in (Ownership.MERGED, Ownership.ADOPTED):
            fate = Fate.REPLACED if row.fate is Ownership.REPLACED else Fate.DROPPED
            text = row.why
        elif key in shared and shared[key] == value:
            fate, text = Fate.DROPPED, f"the same as in the shared files, of which {KEPT} has it"
        elif key == "worker_replication_secret":
            fate, text = Fate.REPLACED, "Ganglion makes one for all processes"
        elif key in KNOWN or row is not None:
            fate = Fate.DROPPED
            text = f"only this worker had it; write it into {KEPT} if all processes shall have it"
        elif key in FORMER:
            fate, text = Fate.DROPPED, FORMER[key]
        else:
            fate, text = Fate.UNKNOWN, "no option of Synapse; left out"
        yield Finding(source=file.path, key=key, fate=fate, text=text)


def _databases(path: str) -> Problem:
    return Problem(
        variable=path,
        value=None,
        message="sets databases",
        hint="move all tables into one database first; see docs/configuration.md",
    )


def _nameless(path: str) -> Problem:
    return Problem(
        variable=path,
        value=None,
        message="there is no server_name in any file",
        hint="name the homeserver.yaml of the main process too",
    )
