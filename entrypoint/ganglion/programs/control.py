"""The control application: readiness and metrics, and in test mode the test controls."""

import json
from typing import Any

from ganglion.budget.amounts import MB, Demand, Row
from ganglion.files.file import SECRET, File
from ganglion.machine.installed import Machine
from ganglion.machine.limits import Limits
from ganglion.programs import nginx
from ganglion.programs.postgres.server import owner
from ganglion.programs.program import Directory, Plan, Program, Service, notify
from ganglion.programs.redis import client_arguments
from ganglion.programs.stopping import stop_times
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

NAME = "control"
CONF = "control.json"
# The file with the level of its log: control/log_level.py.
LEVEL = "control.level"
TOKEN_NAME = "control_token"  # noqa: S105 - the name of its file
# A reset in test mode imports more, Redis's client first.
MEMORY, TEST_MEMORY = 40 * MB, 48 * MB
# The settings that the application needs to ask every part of the server; no secret is among them.
WATCHED = (
    "bind_address",
    "control_hosts",
    "data",
    "enable_metrics",
    "federation_port",
    "hosts",
    "http_port",
    "internal_port_base",
    "only",
    "postgres_args",
    "postgres_db",
    "postgres_host",
    "postgres_port",
    "postgres_sslmode",
    "postgres_user",
    "redis_args",
    "redis_dbid",
    "redis_host",
    "redis_path",
    "redis_port",
    "redis_tls",
    "restrict_federation",
    "run",
    "server_name",
    "sqlite",
    "test_mode",
    "tls_cert",
    "tls_key",
    "unix_sockets",
)


def _programs(plan: Plan, needs: tuple[str, ...]) -> tuple[Program, ...]:
    """It could start without the others, but must not take a processor from those that start.

    In test mode it starts together with nginx, as tests wait for both.
    """
    conf = plan.settings.paths.conf_file(CONF)
    testing = plan.settings.test_mode
    if testing:
        needs = tuple(name for name in needs if name != nginx.NAME)
    return (
        Program(
            name=NAME,
            group="nginx",
            priority=500,
            command=(plan.machine.python, "-P", "-m", "ganglion.control", conf),
            # In test mode our own account: it commands the supervisor and exchanges databases.
            # Otherwise Synapse's, which has all that it asks: sockets, and the database's password.
            account=None if testing else plan.machine.account("synapse"),
            needs=needs,
            # gunicorn's quick shutdown.
            stop_signal="QUIT",
            stop_wait=stop_times(plan.settings.stop_timeout).control,
            health=f"control {plan.settings.paths.control_socket}",
            # Nobody needs it to talk to the server.
            oom_score=500,
            # Its threads wait more than they work. glibc would give each memory of its own.
            environment=(notify(plan.settings), ("MALLOC_ARENA_MAX", "1")),
        ),
    )


def _files(plan: Plan) -> tuple[File, ...]:
    """control.json, which holds no secret, but the paths of files that do; and the token."""
    settings, paths = plan.settings, plan.settings.paths
    token = settings.control_token
    values: dict[str, Any] = {
        "socket": paths.control_socket,
        "states": paths.states_socket,
        "level": paths.conf_file(LEVEL),
        "token_file": None if token is None else paths.secret(TOKEN_NAME),
        # Its workers are in a file of their own, which changes while the application runs.
        "settings": {
            **{name: getattr(settings, name) for name in WATCHED},
            "server_name": plan.operator.options.get("server_name") or settings.server_name,
        },
        "test": _test(plan) if settings.test_mode else None,
    }
    text = json.dumps(values, indent=1) + "\n"
    # Options that operators give for libpq and Redis may be secret.
    found = [File(path=CONF, content=text, mode=SECRET, program="synapse")]
    found.append(File(path=LEVEL, content="level: WARNING\n"))
    shares = {"memory": plan.budget.limits.memory, "shares": dict(plan.budget.memory)}
    budget = json.dumps(shares, indent=1) + "\n"
    found.append(File(path="budget.json", content=budget, mode=SECRET, program="synapse"))
    if token is not None:
        path = f"secrets/{TOKEN_NAME}"
        found.append(File(path=path, content=f"{token}\n", mode=SECRET, program="synapse"))
    return tuple(found)


def _test(plan: Plan) -> dict[str, Any]:
    """The part for the test controls."""
    settings, paths = plan.settings, plan.settings.paths
    return {
        "supervisor": paths.command_socket,
        "resetting": paths.resetting,
        "media": plan.operator.options.get("media_store_path") or paths.media_store,
        "agents": {
            process.name: paths.agent_socket(process.name) for process in plan.topology.processes
        },
        "database": _database(settings, plan.machine),
        "redis": _redis(settings),
    }


def _directories(settings: Settings) -> tuple[Directory, ...]:
    holder = "" if settings.test_mode else "synapse"
    path = settings.paths.control_sockets
    return (Directory(path=path, mode=0o750, service=holder, entered_by="nginx"),)


def _demands(
    settings: Settings, _topology: Topology, _machine: Machine, _within: Limits
) -> tuple[Demand, ...]:
    memory = TEST_MEMORY if settings.test_mode else MEMORY
    return (Demand(label="the control application", fixed={NAME: memory}),)


def _rows(plan: Plan) -> tuple[Row, ...]:
    return (
        Row(
            name="the control application",
            amount="",
            memory=plan.budget.memory[NAME],
            reason="readiness and metrics; GANGLION_CONTROL=no leaves it out"
            if not plan.settings.test_mode
            else "readiness, metrics and the test controls",
        ),
    )


def _database(settings: Settings, machine: Machine) -> dict[str, Any]:
    passfile = settings.paths.pgpass
    if not settings.embedded_postgres:
        return {
            "sqlite": settings.sqlite,
            "embedded": False,
            "administrator": None,
            "name": settings.postgres_db,
            "user": settings.postgres_user,
            "host": settings.postgres_host,
            "port": settings.postgres_port,
            "passfile": passfile if settings.postgres_password else None,
            "sslmode": settings.postgres_sslmode or "prefer",
        }
    administrator = owner(machine)
    return {
        "sqlite": None,
        "embedded": True,
        # Authenticated by its account (pg_ident.conf). If Synapse's own role is the owner of the
        # cluster, it has a password instead.
        "administrator": administrator if administrator != settings.postgres_user else None,
        "name": settings.postgres_db,
        "user": settings.postgres_user,
        "host": settings.paths.postgres_sockets,
        "port": settings.postgres_port,
        "passfile": passfile,
        "sslmode": "prefer",
    }


def _redis(settings: Settings) -> dict[str, Any]:
    password = settings.embedded_redis or settings.redis_password
    return {
        "connection": client_arguments(settings) | {"db": settings.redis_dbid},
        "password_file": settings.paths.secret("redis_password") if password else None,
    }


SERVICE = Service(
    name=NAME,
    runs=lambda settings: settings.control_runs,
    after=("synapse", nginx.NAME),
    programs=_programs,
    files=_files,
    directories=_directories,
    demands=_demands,
    rows=_rows,
)
