"""The control application: the test controls, which run in test mode only."""

import json
from typing import Any

from ganglion.budget.amounts import MB, Demand, Row
from ganglion.files.file import File
from ganglion.machine.installed import Machine
from ganglion.machine.limits import Limits
from ganglion.programs.postgres.server import owner
from ganglion.programs.program import Directory, Plan, Program, Service, notify
from ganglion.programs.redis import client_arguments
from ganglion.programs.stopping import stop_times
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

NAME = "control"
CONF = "control.json"
# Seconds; stopped together with nginx, so it adds no time of its own.
# gunicorn and its one process took 25M of PSS before the first reset, for which it imports Redis's
# client.
MEMORY = 48 * MB


def _programs(plan: Plan, needs: tuple[str, ...]) -> tuple[Program, ...]:
    """It could start without the others, but must not take a processor from those that start."""
    conf = plan.settings.paths.conf_file(CONF)
    return (
        Program(
            name=NAME,
            group="nginx",
            priority=500,
            command=(plan.machine.python, "-P", "-m", "ganglion.control", conf),
            # Our own account: it commands the supervisor and exchanges databases. It runs in test
            # mode only; no program of a production server may have this account.
            account=None,
            needs=needs,
            # gunicorn's quick shutdown.
            stop_signal="QUIT",
            stop_wait=stop_times(plan.settings.stop_timeout).control,
            environment=(notify(plan.settings),),
        ),
    )


def _files(plan: Plan) -> tuple[File, ...]:
    """control.json, which holds no secret, but the paths of files that do."""
    settings, paths = plan.settings, plan.settings.paths
    values: dict[str, Any] = {
        "socket": paths.control_socket,
        "supervisor": paths.command_socket,
        "resetting": paths.resetting,
        "media": plan.operator.options.get("media_store_path") or paths.media_store,
        "agents": {
            process.name: paths.agent_socket(process.name) for process in plan.topology.processes
        },
        "database": _database(settings, plan.machine),
        "redis": _redis(settings),
    }
    return (File(path=CONF, content=json.dumps(values, indent=1) + "\n"),)


def _directories(settings: Settings) -> tuple[Directory, ...]:
    return (Directory(path=settings.paths.control_sockets, mode=0o750, entered_by="nginx"),)


def _demands(
    _settings: Settings, _topology: Topology, _machine: Machine, _within: Limits
) -> tuple[Demand, ...]:
    return (Demand(label="the control application", fixed={NAME: MEMORY}),)


def _rows(plan: Plan) -> tuple[Row, ...]:
    return (
        Row(
            name="the control application",
            amount="",
            memory=plan.budget.memory[NAME],
            reason="the test controls, in test mode",
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
    runs=lambda settings: settings.test_mode,
    after=("synapse",),
    programs=_programs,
    files=_files,
    directories=_directories,
    demands=_demands,
    rows=_rows,
)
