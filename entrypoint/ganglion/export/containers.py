"""The parts of a compose file that Docker Compose and Docker Swarm have in common."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from shlex import quote
from typing import Any

from ganglion.data.paths import Paths
from ganglion.export.deployment import Deployment
from ganglion.export.units import POSTGRES, REDIS, Unit
from ganglion.machine.limits import amount
from ganglion.programs.program import Plan

IMAGE = "${GANGLION_IMAGE:-ganglion}"
# GANGLION_DATA of the image.
DATA = PurePosixPath("/data")
# The place of the operator's routes: data/paths.py.
ROUTES = Paths(data=str(DATA), run="").routes_yaml
SIGNING_KEY = "SYNAPSE_SIGNING_KEY"
# Where Docker puts secrets.
SECRETS = "/run/secrets"
POSTGRES_MEMORY, REDIS_MEMORY = "1g", "256m"
# Time for requests under way; beyond it Docker kills the container.
GRACE = 5


def command_of(deployment: Deployment, variable: str) -> str:
    """Return the command by which the operator's shell prints a secret: a given or a new one."""
    given = deployment.given.get(variable)
    if given is not None:
        return f"cat {quote(given)}" if given else f"printenv {variable}"
    if variable == SIGNING_KEY:
        return "docker run --rm --entrypoint generate_signing_key ganglion"
    return "openssl rand -hex 32"


def requirements(deployment: Deployment) -> str:
    """Return the lines of a comment on what servers outside of the export have to allow."""
    if POSTGRES in deployment.stores:
        return ""
    host, number = deployment.plan.settings.postgres_host, deployment.connections
    return f"# PostgreSQL at {host} needs max_connections of at least {number}.\n#\n"


def secret_name(variable: str) -> str:
    """Return the name of a secret, which is that of its file in the container."""
    return variable.lower()


def environment(deployment: Deployment, unit: Unit, only: str) -> dict[str, str]:
    """Return the variables of a container of a unit, with the paths of its secrets."""
    files = {
        f"{name}_FILE": f"{SECRETS}/{secret_name(name)}" for name in deployment.secrets_of(unit)
    }
    return {**deployment.variables_of(unit, only), **files}


def service(deployment: Deployment, unit: Unit, only: str) -> dict[str, Any]:
    """Return the entries that a unit's service has with both."""
    settings = deployment.plan.settings
    values: dict[str, Any] = {
        "image": IMAGE,
        "stop_grace_period": f"{int(settings.stop_timeout) + GRACE}s",
        "networks": ["default"] if unit.is_nginx else ["default", "stores"],
        "environment": environment(deployment, unit, only),
    }
    names = [secret_name(name) for name in deployment.secrets_of(unit)]
    if names:
        values["secrets"] = names
    if unit.is_nginx:
        values["ports"] = ports(deployment.plan)
    volumes = volumes_of(deployment, unit)
    if volumes:
        values["volumes"] = volumes
    return values


def ports(plan: Plan) -> list[str]:
    """Return the published ports. The control port is not among them."""
    settings = plan.settings
    found = {"HTTP_PORT": settings.http_port}
    if settings.tls:
        found["FEDERATION_PORT"] = settings.federation_port
    return [f"${{{name}:-{port}}}:{port}" for name, port in found.items()]


def volumes_of(deployment: Deployment, unit: Unit) -> list[str]:
    """Return the volumes of a unit. Only main's data and media have to survive a container."""
    media = any("media" in process.resources for process in unit.processes)
    return [
        *(["main:/data"] if unit.is_main else []),
        *(["media:/data/media_store"] if media else []),
        *(
            f"{path}:{inside(deployment, path)}:ro"
            for path in (deployment.configuration if not unit.is_nginx else ())
        ),
        *([f"{deployment.routes}:{ROUTES}:ro"] if unit.is_nginx and deployment.routes else []),
    ]


def volumes(deployment: Deployment) -> dict[str, None]:
    """Return all named volumes."""
    return dict.fromkeys(["main", "media", *([POSTGRES] if POSTGRES in deployment.stores else [])])


def postgres(deployment: Deployment) -> dict[str, Any]:
    """Return the service of PostgreSQL: the official image, or another that knows its variables."""
    settings = deployment.plan.settings
    return {
        "image": "${POSTGRES_IMAGE:-postgres:17}",
        "command": ["postgres", "-c", f"max_connections={deployment.connections}"],
        "networks": ["stores"],
        "environment": {
            "POSTGRES_DB": settings.postgres_db,
            "POSTGRES_USER": settings.postgres_user,
            "POSTGRES_PASSWORD_FILE": f"{SECRETS}/postgres_password",
            # Synapse refuses a database in any other locale.
            "POSTGRES_INITDB_ARGS": "--locale=C --encoding=UTF8",
            "PGDATA": "/var/lib/postgresql/cluster",
        },
        "secrets": ["postgres_password"],
        "volumes": [f"{POSTGRES}:/var/lib/postgresql"],
        "healthcheck": {
            "test": [
                *("CMD", "pg_isready", "--quiet", "--host=127.0.0.1"),
                *(f"--username={settings.postgres_user}", f"--dbname={settings.postgres_db}"),
            ],
            "interval": "10s",
            "start_period": "60s",
        },
    }


def redis() -> dict[str, Any]:
    """Return the service of Redis. It keeps nothing."""
    start = (
        'printf \'requirepass %s\\nsave ""\\nbind * -::*\\n\' "$$(cat /run/secrets/redis_password)"'
        " | exec redis-server -"
    )
    return {
        "image": "${REDIS_IMAGE:-redis:8}",
        "command": ["sh", "-c", start],
        "networks": ["stores"],
        "environment": {"REDIS_PASSWORD_FILE": f"{SECRETS}/redis_password"},
        "secrets": ["redis_password"],
        "healthcheck": {
            # NOAUTH is a response too: it asks for the password.
            "test": ["CMD-SHELL", "redis-cli ping | grep --quiet -e PONG -e NOAUTH"],
            "interval": "10s",
            "start_period": "60s",
        },
    }


def stores(deployment: Deployment) -> dict[str, dict[str, Any]]:
    """Return the services of the stores that the variables do not name."""
    found: dict[str, dict[str, Any]] = {}
    if POSTGRES in deployment.stores:
        found[POSTGRES] = postgres(deployment)
    if REDIS in deployment.stores:
        found[REDIS] = redis()
    return found


def limits(deployment: Deployment, unit: Unit) -> Mapping[str, Any]:
    """Return the memory limit of a container: exactly the amount that its processes share out."""
    return {"limits": {"memory": amount(deployment.memory[unit.name])}}


def inside(deployment: Deployment, path: str) -> str:
    """Return where a container has one of the operator's files: at the same place in /data."""
    found, data = PurePosixPath(path), deployment.plan.settings.data
    return str(DATA / found.relative_to(data)) if found.is_relative_to(data) else path
