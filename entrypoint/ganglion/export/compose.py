"""Docker Compose: every process in a container of its own, on one host."""

from typing import Any

from ganglion.export.containers import (
    SIGNING_KEY,
    command_of,
    limits,
    requirements,
    secret_name,
    service,
    stores,
    volumes,
)
from ganglion.export.deployment import Deployment
from ganglion.export.units import Unit, dns
from ganglion.files.file import File
from ganglion.programs.synapse.options import as_yaml

HEADER = """\
# Made by `ganglion export compose`. It is replaced by the next export: put changes into an override
# file of compose.
#
{needs}# Make the secrets once, in a file .env beside this one. PostgreSQL reads its password at the
# first start only: keep the file.
#
{secrets}
#   docker compose up --detach --wait
#   docker compose exec main ganglion register-user alice --admin
"""


def render(deployment: Deployment, path: str) -> tuple[File, ...]:
    """Return the compose file."""
    services: dict[str, Any] = {}
    waits = {store: {"condition": "service_healthy"} for store in deployment.stores}
    for unit in deployment.units:
        for only in unit.only:
            name = dns(only)
            services[name] = _service(deployment, unit, only, waits)
    for name, store in stores(deployment).items():
        services[name] = {"restart": "unless-stopped", "shm_size": "256m", **store}
    values = {
        "name": "ganglion",
        "services": services,
        "networks": {"stores": {"internal": True}},
        "volumes": volumes(deployment),
        "secrets": {secret_name(name): {"environment": name} for name in deployment.secrets},
    }
    return (File(path=path, content=header(deployment) + as_yaml(values)),)


def header(deployment: Deployment) -> str:
    """Return the comment at the top, with the commands that make the secrets."""
    lines = ["umask 077"]
    # One that has spaces or lines needs quotes, and comes last.
    for name in sorted(deployment.secrets, key=lambda name: _is_quoted(deployment, name)):
        mark = "'" if _is_quoted(deployment, name) else ""
        lines.append(f'echo "{name}={mark}$({command_of(deployment, name)}){mark}" >> .env')
    return HEADER.format(
        secrets="\n".join(f"#   {line}" for line in lines), needs=requirements(deployment)
    )


def _is_quoted(deployment: Deployment, name: str) -> bool:
    return name == SIGNING_KEY or name in deployment.given


def _service(
    deployment: Deployment, unit: Unit, only: str, stores: dict[str, Any]
) -> dict[str, Any]:
    values = service(deployment, unit, only)
    main = {"main": {"condition": "service_healthy"}}
    waits = {**({} if unit.is_nginx else stores), **(main if unit.waits else {})}
    return {
        "image": values.pop("image"),
        "restart": "unless-stopped",
        **({"depends_on": waits} if waits else {}),
        **values,
        "deploy": {"resources": limits(deployment, unit)},
    }
