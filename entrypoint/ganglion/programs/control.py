"""What the control application is told of the server: control.json, only in test mode."""

import json
from typing import Any

from ganglion.files.file import File
from ganglion.machine.installed import Machine
from ganglion.settings.operator_files import OperatorFiles
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

PATH = "control.json"


def socket(settings: Settings) -> str:
    """Where the control application answers."""
    return f"{settings.run}/sockets/control.sock"


def supervisor_socket(settings: Settings) -> str:
    """Where the supervisor is told to end processes and to start them again."""
    return f"{settings.run}/processes.sock"


def agent_socket(settings: Settings, name: str) -> str:
    """Where the agent inside one of Synapse's processes answers."""
    return f"{settings.run}/sockets/{name}.test.sock"


def resetting(settings: Settings) -> str:
    """The file that is there while the server is being reset; nginx then answers 503."""
    return f"{settings.run}/resetting"


def render(
    settings: Settings, topology: Topology, machine: Machine, operator: OperatorFiles
) -> tuple[File, ...]:
    """control.json, which holds no secret, but says where they are."""
    if not settings.test_mode:
        return ()
    media = operator.options.get("media_store_path", f"{settings.data}/media_store")
    values: dict[str, Any] = {
        "socket": socket(settings),
        "supervisor": supervisor_socket(settings),
        "resetting": resetting(settings),
        "media": media,
        "agents": {
            process.name: agent_socket(settings, process.name) for process in topology.processes
        },
        "database": _database(settings, machine),
        "redis": _redis(settings),
    }
    return (File(path=PATH, content=json.dumps(values, indent=1) + "\n"),)


def _database(settings: Settings, machine: Machine) -> dict[str, Any]:
    passfile = f"{settings.run}/conf/secrets/pgpass"
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
    owner = machine.account("postgres") or machine.ourselves
    return {
        "sqlite": None,
        "embedded": True,
        # Let in by its account: render/servers.py. Where Synapse's own role is the owner of the
        # cluster, that has a password.
        "administrator": owner if owner != settings.postgres_user else None,
        "name": settings.postgres_db,
        "user": settings.postgres_user,
        "host": f"{settings.run}/sockets/postgres",
        "port": settings.postgres_port,
        "passfile": passfile,
        "sslmode": "prefer",
    }


def _redis(settings: Settings) -> dict[str, Any]:
    password = settings.embedded_redis or settings.redis_password
    where: dict[str, Any] = (
        {"unix_socket_path": f"{settings.run}/sockets/redis/redis.sock"}
        if settings.embedded_redis
        else {
            "host": settings.redis_host,
            "port": settings.redis_port,
            "ssl": settings.redis_tls,
        }
    )
    return {
        "connection": where | {"db": settings.redis_dbid},
        "password_file": f"{settings.run}/conf/secrets/redis_password" if password else None,
    }
