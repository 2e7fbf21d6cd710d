"""Synapse's configuration: underrides, overrides, a file for each worker, logging, secrets.

Test mode has a file of its own behind the underrides: test_options.py.

Synapse takes several files, later ones winning option by option. Ours come first, where the
operator may change them, and last, where the topology must win.
"""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml

from ganglion.budget.amounts import Budget, Caches
from ganglion.budget.connections import ConnectionPool
from ganglion.files.file import SECRET, File
from ganglion.programs.program import Plan
from ganglion.programs.synapse import test_options
from ganglion.programs.synapse.listeners import listeners, manholes
from ganglion.programs.synapse.logging import log_config, logging
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.owned_options import neutral_values
from ganglion.settings.secrets import GIVEN, Secrets
from ganglion.settings.variables import Settings
from ganglion.topology.names import MAIN, MAIN_AS_WRITER
from ganglion.topology.topology import Address, Process, Topology

HEADER = "# Made by Ganglion at every start. Changes here are lost; see docs/configuration.md.\n"
# The module in each process that the test controls talk to.
AGENT = "ganglion.in_synapse.test_agent.agent.Agent"
# Entries used within this time are not evicted to free memory: the value of Synapse's example.
MIN_CACHE_TTL = "5m"
# Options of Synapse whose value can be in the file itself or, with _path, in a file of its own.
# Synapse refuses both at once, so ours is left out where the operator has either.
SECRET_OPTIONS = (
    "macaroon_secret_key",
    "form_secret",
    "registration_shared_secret",
    "worker_replication_secret",
)
# The certificate, its key and its authorities, where replication is encrypted.
OF_REPLICATION = ("replication_cert", "replication_key", "replication_ca")
UNDERRIDES = "synapse/underrides.yaml"
OVERRIDES = "synapse/overrides.yaml"
TESTING = "synapse/testing.yaml"


def files(plan: Plan) -> tuple[File, ...]:
    """Synapse's files below the conf directory."""
    settings, topology, budget = plan.settings, plan.topology, plan.budget
    operator, secrets = plan.operator, plan.secrets
    if not topology.here:
        return ()
    found = [
        _yaml(UNDERRIDES, _underrides(settings, budget, operator)),
        *([_yaml(TESTING, test_options.options(settings))] if settings.test_mode else []),
        _yaml(OVERRIDES, overrides(settings, topology, budget, operator)),
        *_secret_files(settings, secrets),
        *_copies(operator),
    ]
    for process in topology.here:
        found.append(_yaml(f"synapse/log/{process.name}.yaml", logging(settings, process)))
        if not process.is_main:
            values = worker_options(plan, process)
            found.append(_yaml(f"synapse/workers/{process.name}.yaml", values))
    return tuple(found)


def merged(plan: Plan) -> dict[str, Any]:
    """Return the options of all layers together, for a Synapse that reads one file for all."""
    return {
        **_underrides(plan.settings, plan.budget, plan.operator),
        **plan.operator.options,
        **overrides(plan.settings, plan.topology, plan.budget, plan.operator),
    }


def worker_options(plan: Plan, process: Process) -> dict[str, Any]:
    """Return the options of a worker's own file."""
    settings, operator = plan.settings, plan.operator
    return _worker(settings, operator, process) | _own_share(
        settings, plan.budget, operator, process
    )


def secret_files(plan: Plan) -> tuple[File, ...]:
    """Return a file for each secret that Synapse reads from one."""
    return _secret_files(plan.settings, plan.secrets)


def config_paths(settings: Settings, operator: OperatorFiles, process: Process) -> tuple[str, ...]:
    """The files that a process reads, in order."""
    ours = (UNDERRIDES, *([TESTING] if settings.test_mode else []))
    last = (OVERRIDES, *([] if process.is_main else [f"synapse/workers/{process.name}.yaml"]))
    conf_file = settings.paths.conf_file
    return (*map(conf_file, ours), *operator.paths, *map(conf_file, last))


class _Plain(yaml.CSafeDumper):
    """Writes repeated values in full, without anchors. Uses libyaml."""

    def ignore_aliases(self, _data: Any) -> bool:  # noqa: ANN401 - as PyYAML has it
        return True


def as_yaml(values: Mapping[str, Any]) -> str:
    """Options as YAML, in their order."""
    text: str = yaml.dump(
        dict(values), Dumper=_Plain, sort_keys=False, allow_unicode=True, width=100
    )
    return text


def _yaml(path: str, values: Mapping[str, Any]) -> File:
    return File(path=path, content=HEADER + as_yaml(values))


def _secret_files(settings: Settings, secrets: Secrets) -> tuple[File, ...]:
    contents = {name: getattr(secrets, name) for name in (*SECRET_OPTIONS, *_given(settings))}
    contents["signing_key"] = secrets.signing_key
    if settings.embedded_redis or settings.redis_password:
        contents["redis_password"] = secrets.redis_password
    if settings.embedded_postgres or settings.postgres_password:
        password = secrets.postgres_password.replace("\\", "\\\\").replace(":", "\\:")
        contents["pgpass"] = f"*:*:*:*:{password}"
    contents |= {name: text for name in OF_REPLICATION if (text := getattr(settings, name))}
    return tuple(
        File(path=f"secrets/{name}", content=f"{text}\n", mode=SECRET, program="synapse")
        for name, text in contents.items()
    )


def _given(settings: Settings) -> tuple[str, ...]:
    """Those options of the same kind that there are only where a variable gives them."""
    return tuple(name for name in GIVEN if getattr(settings, name) is not None)


def options_of_variables(settings: Settings) -> dict[str, Any]:
    """The options that variables alone come to, without secrets and places."""
    values: dict[str, Any] = {
        "server_name": settings.server_name,
        "report_stats": settings.report_stats,
        "max_upload_size": settings.max_upload_size,
        "enable_registration": settings.enable_registration,
        # Asked for by the same variable: Synapse refuses open registration without this.
        "enable_registration_without_verification": settings.enable_registration,
        "allow_guest_access": settings.allow_guests,
        "turn_uris": list(settings.turn_uris),
        # Synapse's own default. Without it in a file, Synapse logs a long warning.
        "trusted_key_servers": [{"server_name": "matrix.org"}],
        "suppress_key_server_warning": True,
    }
    if settings.public_baseurl:
        values["public_baseurl"] = settings.public_baseurl
    if settings.recaptcha_public_key:
        values["recaptcha_public_key"] = settings.recaptcha_public_key
        values["enable_registration_captcha"] = True
    return values


def _underrides(settings: Settings, budget: Budget, operator: OperatorFiles) -> dict[str, Any]:
    values: dict[str, Any] = {
        **options_of_variables(settings),
        "signing_key_path": settings.paths.secret("signing_key"),
        "media_store_path": settings.paths.media_store,
        **_caches(settings, budget.caches[_reference(budget)]),
    }
    for name in (*SECRET_OPTIONS, *_given(settings)):
        if not {name, f"{name}_path"} & operator.options.keys():
            values[f"{name}_path"] = settings.paths.secret(name)
    return values


def overrides(
    settings: Settings, topology: Topology, budget: Budget, operator: OperatorFiles
) -> dict[str, Any]:
    """Return the options of overrides.yaml, which each process reads after the operator's files.

    It sets every option of owned_options.py that the topology decides, used or not.
    """
    values: dict[str, Any] = {
        "listeners": [
            *listeners(settings, topology.main, _main_resources(operator), operator),
            *manholes(operator),
        ],
        "log_config": log_config(settings, MAIN),
        "enable_metrics": settings.enable_metrics,
        "database": _database(settings, budget.pools[_reference(budget)], operator),
        "redis": _redis(settings),
        "instance_map": {
            process.name: _location(process.replication)
            for process in topology.processes
            if process.replication is not None
        },
        "stream_writers": {
            stream: list(writers) for stream, writers in topology.stream_writers.items()
        },
        **_duties(topology),
        **neutral_values(operator.options),
    }
    if settings.encrypts_replication:
        values["tls_certificate_path"] = settings.paths.secret("replication_cert")
        values["tls_private_key_path"] = settings.paths.secret("replication_key")
    if operator.options.get("manhole"):
        # It is among the listeners.
        values["manhole"] = None
    if operator.options.get("database_path"):
        values["database_path"] = None
    registrations = _registrations(settings, operator)
    # Synapse rejects null where it wants a list.
    if registrations or operator.options.get("app_service_config_files", []) is None:
        values["app_service_config_files"] = registrations
    if settings.test_mode:
        values["modules"] = [*(operator.options.get("modules") or []), _agent(settings, topology)]
    return values


def _reference(budget: Budget) -> str:
    """Return the process whose amounts are in the files for all: main, if it runs here."""
    return MAIN if MAIN in budget.pools else next(iter(budget.pools))


def _agent(settings: Settings, topology: Topology) -> dict[str, Any]:
    """Return the entry of the test agent, which every process loads as a module."""
    config: dict[str, Any] = {"socket": settings.paths.agent_socket("NAME")}
    if settings.consistent and topology.workers:
        config["consistent"] = {
            "table": settings.paths.positions_table,
            "processes": [process.name for process in topology.processes],
        }
    return {"module": AGENT, "config": config}


def shared_lists(topology: Topology) -> str:
    """Return all lists by which processes share work, as a text that is equal only if they are.

    Nor can a container that encrypts replication talk with one that does not.
    """
    writers = {stream: list(names) for stream, names in topology.stream_writers.items()}
    main = topology.main.replication
    encrypted = ["encrypted"] if main is not None and main.tls else []
    return json.dumps([writers, _duties(topology), *encrypted], sort_keys=True)


def _duties(topology: Topology) -> dict[str, Any]:
    """The processes that do background work. Main is named too, as files may say otherwise."""
    jobs = topology.jobs
    senders = list(jobs.get("federation_sender", (MAIN_AS_WRITER,)))
    values: dict[str, Any] = {
        "federation_sender_instances": senders,
        "pusher_instances": list(jobs.get("pusher", (MAIN_AS_WRITER,))),
        "run_background_tasks_on": _only(jobs, "background_worker"),
        "update_user_directory_from_worker": _only(jobs, "user_dir"),
        "notify_appservices_from_worker": _only(jobs, "appservice"),
    }
    # Main serves media where no worker does.
    values["enable_media_repo"] = "media_repository" not in jobs
    values["media_instance_running_background_jobs"] = _only(jobs, "media_repository")
    restricted = senders if topology.restrict_federation else None
    values["outbound_federation_restricted_to"] = restricted
    return values


def _only(jobs: Mapping[str, tuple[str, ...]], role: str) -> str | None:
    """The first worker with a role: for `media_repository`, Synapse wants one of them."""
    return jobs[role][0] if role in jobs else None


def _main_resources(operator: OperatorFiles) -> list[str]:
    # The consent resource cannot be built without the operator's consent texts.
    return ["client", "federation", *(["consent"] if "user_consent" in operator.options else [])]


def _worker(settings: Settings, operator: OperatorFiles, process: Process) -> dict[str, Any]:
    values: dict[str, Any] = {
        "worker_app": "synapse.app.generic_worker",
        "worker_name": process.name,
        "worker_listeners": listeners(settings, process, sorted(process.resources), operator),
        "worker_log_config": log_config(settings, process.name),
    }
    if "media" in process.resources:
        values["enable_media_repo"] = True
    return values


def _caches(settings: Settings, caches: Caches) -> dict[str, Any]:
    options: dict[str, Any] = {"global_factor": caches.factor}
    if settings.test_mode:
        # A repeated request in a test gets the current state, not an answer two minutes old.
        options["sync_response_cache_duration"] = 0
    if caches.evict_above is not None:
        options["cache_autotuning"] = {
            "max_cache_memory_usage": caches.evict_above,
            "target_cache_memory_usage": caches.evict_until,
            "min_cache_ttl": MIN_CACHE_TTL,
        }
    return {"event_cache_size": caches.events, "caches": options}


def _own_share(
    settings: Settings, budget: Budget, operator: OperatorFiles, process: Process
) -> dict[str, Any]:
    """A worker's own caches and connections, if they differ from main's.

    Its file is read after the operator's, so options that the operator sets are left out.
    """
    pool = budget.pools[process.name]
    values = {
        name: value
        for name, value in _caches(settings, budget.caches[process.name]).items()
        if name not in operator.options
    }
    if pool != budget.pools[_reference(budget)]:
        values["database"] = _database(settings, pool, operator)
    return values


def _location(address: Address) -> dict[str, Any]:
    if address.path:
        return {"path": address.path}
    tls = {"tls": True} if address.tls else {}
    return {"host": address.reached, "port": address.port, **tls}


def _database(settings: Settings, pool: ConnectionPool, operator: OperatorFiles) -> dict[str, Any]:
    own = ("name", "args", "data_stores")
    rest = {name: item for name, item in operator.section("database").items() if name not in own}
    if settings.sqlite is not None:
        return {"name": "sqlite3", **rest, "args": {"database": settings.sqlite}}
    args: dict[str, Any] = {
        "user": settings.postgres_user,
        "dbname": settings.postgres_db,
        "host": settings.postgres_host or settings.paths.postgres_sockets,
        "port": settings.postgres_port,
        "cp_min": pool.least,
        "cp_max": pool.most,
    }
    if settings.embedded_postgres or settings.postgres_password:
        args["passfile"] = settings.paths.secret("pgpass")
    if settings.postgres_sslmode:
        args["sslmode"] = settings.postgres_sslmode
    if not settings.embedded_postgres:
        # A firewall that forgets an idle connection is noticed in 60 s, not after hours. A network
        # that loses all packets is noticed in 30 s (here in milliseconds), not in 15 minutes.
        args.update(
            keepalives_idle=30, keepalives_interval=10, keepalives_count=3, tcp_user_timeout=30_000
        )
    args.update(settings.postgres_args)
    return {"name": "psycopg2", **rest, "args": args}


def _redis(settings: Settings) -> dict[str, Any]:
    values: dict[str, Any] = {"enabled": True, "dbid": settings.redis_dbid}
    if settings.embedded_redis:
        values["path"] = settings.paths.redis_socket
    elif settings.redis_path is not None:
        values["path"] = settings.redis_path
    else:
        values.update(
            host=settings.redis_host, port=settings.redis_port, use_tls=settings.redis_tls
        )
    values.update(settings.redis_args)
    if settings.embedded_redis or settings.redis_password:
        values["password_path"] = settings.paths.secret("redis_password")
    return values


def _registrations(settings: Settings, operator: OperatorFiles) -> list[str]:
    """The registrations of application services, or their copies."""
    copies = _copy_paths(operator)
    conf_file = settings.paths.conf_file
    return [
        conf_file(copies[path]) if path in copies else path for path in operator.all_registrations
    ]


def _copy_paths(operator: OperatorFiles) -> dict[str, str]:
    """Where each copied registration goes, below the conf directory."""
    return {
        path: f"appservices/{number}-{PurePosixPath(path).name}"
        for number, path in enumerate(operator.copies, 1)
    }


def _copies(operator: OperatorFiles) -> list[File]:
    return [
        File(path=place, content=operator.copies[path], mode=SECRET, program="synapse")
        for path, place in _copy_paths(operator).items()
    ]
