"""THE table of Synapse's options that Ganglion owns, in the operator's files.

The operator's files may set every other option. An option that is not in this table is passed
through to Synapse. docs/configuration.md lists the table, and `ganglion check` and each start print
a note for each of its rows that the files set and that is replaced or has no effect.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any


class Fate(Enum):
    """How Ganglion treats an option that the operator's files set."""

    # overrides.yaml or each worker's own file sets it at every start, whatever the topology.
    REPLACED = "replaced"
    # It has no effect. Where it would have one, overrides.yaml sets it to the row's `neutral`.
    DROPPED = "without effect"
    # Part of it is used: operator_listeners.py, existing_database.py, existing_redis.py.
    MERGED = "used in part"
    # Ganglion reads it as it reads a variable.
    ADOPTED = "used as a setting"
    # The start is refused: Synapse would refuse it, or no process could obey it.
    REFUSED = "refused"


# The `neutral` of an option that has no effect on a Ganglion server by itself.
HARMLESS = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Owned:
    """One row: an option of Synapse, its fate and the reason.

    `neutral` is the value that switches a DROPPED option off. `accepted` are the values of a
    REFUSED option that ask for nothing. `fix` says what to do instead.
    """

    option: str
    fate: Fate
    why: str
    neutral: Any = HARMLESS
    accepted: tuple[Any, ...] = ()
    fix: str = "remove it"


WORKERS_DECIDES = "WORKERS decides which process does this"
FOREGROUND = "supervisord runs each process in the foreground"
LISTENERS = "listeners are made for each process; see listeners"

OWNED: tuple[Owned, ...] = (
    # Options of a single process.
    Owned(
        option="worker_app",
        fate=Fate.REFUSED,
        why="WORKERS decides which workers run",
        accepted=("synapse.app.homeserver", None),
    ),
    Owned(
        option="worker_name",
        fate=Fate.REFUSED,
        why="WORKERS decides which workers run",
        accepted=(None,),
    ),
    Owned(
        option="worker_listeners",
        fate=Fate.REFUSED,
        why="the listeners of each worker are generated",
        accepted=([],),
    ),
    Owned(
        option="worker_log_config",
        fate=Fate.REPLACED,
        why="each process has a logging configuration, from SYNAPSE_LOG_LEVEL and its like",
    ),
    Owned(
        option="worker_manhole",
        fate=Fate.DROPPED,
        why="all workers would open the same port; a listener of type manhole is main's",
        neutral=None,
    ),
    # Which process does what: synapse/config/workers.py and repository.py.
    Owned(
        option="instance_map",
        fate=Fate.REPLACED,
        why="WORKERS decides which processes run",
    ),
    Owned(option="stream_writers", fate=Fate.REPLACED, why=WORKERS_DECIDES),
    Owned(option="federation_sender_instances", fate=Fate.REPLACED, why=WORKERS_DECIDES),
    Owned(option="pusher_instances", fate=Fate.REPLACED, why=WORKERS_DECIDES),
    Owned(option="run_background_tasks_on", fate=Fate.REPLACED, why=WORKERS_DECIDES),
    Owned(option="update_user_directory_from_worker", fate=Fate.REPLACED, why=WORKERS_DECIDES),
    Owned(option="notify_appservices_from_worker", fate=Fate.REPLACED, why=WORKERS_DECIDES),
    Owned(
        option="enable_media_repo",
        fate=Fate.REPLACED,
        why="main serves media unless WORKERS has media_repository workers",
    ),
    Owned(
        option="media_instance_running_background_jobs",
        fate=Fate.REPLACED,
        why=WORKERS_DECIDES,
    ),
    Owned(
        option="outbound_federation_restricted_to",
        fate=Fate.REPLACED,
        why="GANGLION_RESTRICT_FEDERATION=yes restricts it to the federation_sender workers",
    ),
    Owned(
        option="send_federation",
        fate=Fate.DROPPED,
        why=WORKERS_DECIDES,
        neutral=True,
    ),
    Owned(option="start_pushers", fate=Fate.DROPPED, why=WORKERS_DECIDES, neutral=True),
    # Synapse refuses these two beside their modern form, which overrides.yaml sets.
    Owned(
        option="notify_appservices",
        fate=Fate.REFUSED,
        why="add the role appservice to WORKERS instead",
    ),
    Owned(
        option="update_user_directory",
        fate=Fate.REFUSED,
        why="add the role user_dir to WORKERS instead",
    ),
    # How workers found main before Redis and instance_map.
    Owned(
        option="worker_replication_port",
        fate=Fate.REFUSED,
        why="Synapse rejects it; the processes replicate over Redis",
    ),
    *(
        Owned(
            option=option,
            fate=Fate.DROPPED,
            why="each process gets the address of main by itself",
            neutral=None,
        )
        for option in (
            "worker_replication_host",
            "worker_replication_http_port",
            "worker_replication_http_tls",
            "worker_main_http_uri",
        )
    ),
    # Supervision.
    *(
        Owned(
            option=option,
            fate=Fate.REFUSED,
            why=f"{FOREGROUND}, and a process that detaches looks like one that ended",
            accepted=(False, None, "", 0),
            fix=f"remove it, or set {option}: false in a file of homeserver.d",
        )
        for option in ("daemonize", "worker_daemonize")
    ),
    *(
        Owned(option=option, fate=Fate.DROPPED, why=FOREGROUND, neutral=None)
        for option in ("pid_file", "worker_pid_file")
    ),
    Owned(option="print_pidfile", fate=Fate.DROPPED, why=FOREGROUND, neutral=False),
    Owned(
        option="no_redirect_stdio",
        fate=Fate.DROPPED,
        why="what a process prints is put into its log",
        neutral=False,
    ),
    Owned(
        option="log_config",
        fate=Fate.REPLACED,
        why="each process has a logging configuration, from SYNAPSE_LOG_LEVEL and its like",
    ),
    Owned(
        option="log_file",
        fate=Fate.REFUSED,
        why="Synapse rejects it; SYNAPSE_WORKERS_WRITE_LOGS_TO_DISK=yes makes a file for each"
        " process",
        accepted=(None, "", False),
    ),
    # Where it listens: synapse/config/server.py.
    Owned(
        option="listeners",
        fate=Fate.MERGED,
        why="nginx answers on HTTP_PORT and FEDERATION_PORT, and each process has a socket; main"
        " keeps `compress`, `additional_resources`, `request_id_header` and manholes",
    ),
    Owned(
        option="manhole",
        fate=Fate.MERGED,
        why="main opens it, at 127.0.0.1 in the container",
    ),
    *(
        Owned(option=option, fate=Fate.DROPPED, why=LISTENERS, neutral=None)
        for option in ("bind_port", "bind_host", "unsecure_port", "gzip_responses")
    ),
    *(
        Owned(
            option=option,
            fate=Fate.DROPPED,
            why="nginx answers HTTPS, with SYNAPSE_TLS_CERT and SYNAPSE_TLS_KEY",
        )
        for option in ("tls_certificate_path", "tls_private_key_path")
    ),
    Owned(
        option="no_tls",
        fate=Fate.DROPPED,
        why="nginx answers HTTPS, with SYNAPSE_TLS_CERT and SYNAPSE_TLS_KEY",
        neutral=False,
    ),
    Owned(
        option="enable_metrics",
        fate=Fate.ADOPTED,
        why="the same as SYNAPSE_ENABLE_METRICS; it opens CONTROL_PORT",
    ),
    *(
        Owned(
            option=option,
            fate=Fate.DROPPED,
            why="each process's metrics are at /metrics/NAME of CONTROL_PORT",
            neutral=None,
        )
        for option in ("metrics_port", "metrics_bind_host")
    ),
    # The servers beside Synapse: synapse/config/database.py and redis.py.
    Owned(
        option="database",
        fate=Fate.MERGED,
        why="the variables POSTGRES_* count more, and a connection pool's size comes from the"
        " budget",
    ),
    Owned(
        option="databases",
        fate=Fate.REFUSED,
        why="only one database is supported; see docs/configuration.md",
        accepted=(None, {}),
    ),
    Owned(
        option="database_path",
        fate=Fate.ADOPTED,
        why="the SQLite file, as in database",
    ),
    Owned(
        option="redis",
        fate=Fate.MERGED,
        why="the variables REDIS_* count more; without a host, the embedded server is used",
    ),
    # Options that Ganglion adds to.
    Owned(
        option="app_service_config_files",
        fate=Fate.MERGED,
        why="the files of SYNAPSE_AS_REGISTRATION_DIR are added",
    ),
    Owned(
        option="modules",
        fate=Fate.MERGED,
        why="in test mode, the module for the test controls is added",
    ),
)
BY_OPTION: Mapping[str, Owned] = MappingProxyType({row.option: row for row in OWNED})


def refused(options: Mapping[str, Any]) -> Iterator[Owned]:
    """Yield the rows of options that cannot be obeyed, in the table's order."""
    for row in OWNED:
        if (
            row.fate is Fate.REFUSED
            and row.option in options
            and not _among(options[row.option], row.accepted)
        ):
            yield row


def neutral_values(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what overrides.yaml sets so that the options of the files have no effect."""
    return {
        row.option: row.neutral
        for row in OWNED
        if row.fate is Fate.DROPPED
        and row.neutral is not HARMLESS
        and options.get(row.option) not in (None, row.neutral)
    }


def notes(
    options: Mapping[str, Any], sources: Mapping[str, str], overrides: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return a note for each option that is replaced or has no effect, with the reason.

    `sources` names the file that set an option last. An option whose value is what `overrides`
    sets anyway has no note.
    """
    found: list[str] = []
    for row in OWNED:
        if row.fate not in (Fate.REPLACED, Fate.DROPPED) or row.option not in options:
            continue
        value = options[row.option]
        if value is None:
            # As good as nothing.
            continue
        if row.option in overrides and _among(value, (overrides[row.option],)):
            continue
        if row.neutral is not HARMLESS and _among(value, (row.neutral,)):
            continue
        where = sources.get(row.option, "your files")
        is_what = "is replaced" if row.fate is Fate.REPLACED else "has no effect"
        found.append(f"{where}: {row.option} {is_what}: {row.why}")
    return tuple(found)


def _among(value: object, accepted: tuple[Any, ...]) -> bool:
    """Whether a value is one of several. True and 1 are different values here."""
    return any(type(value) is type(item) and value == item for item in accepted)
