"""Docker Swarm: a service for each unit, on as many nodes as there are.

A service of readers has a replica for each process: Swarm numbers its tasks from 1, as the names of
processes are, and a task's host name is known to all others since Docker 25. A writer is stopped
before its successor starts; a reader's successor starts first. nginx has a port of its node, so it
is stopped first too.
"""

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
from ganglion.programs.program import Plan
from ganglion.programs.synapse.options import as_yaml

HEADER = """\
# Made by `ganglion export swarm`. It is replaced by the next export, unless it was changed.
#
{needs}# Make the secrets once. The names of new values have to be new ones.
#
{secrets}
#   docker stack deploy --compose-file {path} --resolve-image=never ganglion
#
# The image must be on every node, or in a registry (GANGLION_IMAGE). The volumes main and media,
# and that of PostgreSQL, are each node's own: with several nodes, give them a driver of a shared
# file system, or keep these services on one node (deploy.placement).
"""
# A service whose tasks fail goes back to the one before.
UPDATE = {"parallelism": 1, "failure_action": "rollback", "monitor": "30s"}


def render(deployment: Deployment, path: str) -> tuple[File, ...]:
    """Return the stack file."""
    services: dict[str, Any] = {unit.name: _service(deployment, unit) for unit in deployment.units}
    for name, store in stores(deployment).items():
        services[name] = {
            **store,
            "deploy": {
                "endpoint_mode": "dnsrr",
                # Its volume is there.
                "placement": {"constraints": ["node.role == manager"]},
                "update_config": {"order": "stop-first"},
            },
        }
    overlay = {"driver": "overlay"}
    values = {
        "version": "3.8",
        "services": services,
        "networks": {"default": overlay, "stores": {**overlay, "internal": True}},
        "volumes": volumes(deployment),
        "secrets": {
            secret_name(name): {"external": True, "name": f"ganglion_{secret_name(name)}"}
            for name in deployment.secrets
        },
    }
    return (File(path=path, content=header(deployment, path) + as_yaml(values)),)


def header(deployment: Deployment, path: str) -> str:
    """Return the comment at the top, with the commands that make the secrets."""
    lines = [
        f"{command_of(deployment, name)} | docker secret create ganglion_{secret_name(name)} -"
        for name in sorted(deployment.secrets, key=SIGNING_KEY.__eq__)
    ]
    secrets = "\n".join(f"#   {line}" for line in lines)
    return HEADER.format(secrets=secrets, path=path, needs=requirements(deployment))


def _ports(plan: Plan) -> list[dict[str, Any]]:
    """Return nginx's ports, at its own node: Swarm's mesh would hide the addresses of clients."""
    settings = plan.settings
    found = {"HTTP_PORT": settings.http_port}
    if settings.tls:
        found["FEDERATION_PORT"] = settings.federation_port
    return [
        {"target": port, "published": f"${{{name}:-{port}}}", "protocol": "tcp", "mode": "host"}
        for name, port in found.items()
    ]


def _service(deployment: Deployment, unit: Unit) -> dict[str, Any]:
    slots = not unit.single and not unit.is_nginx
    # The number of a task, which is that of its process.
    only = f"{unit.stem}{{{{.Task.Slot}}}}" if slots else unit.only[0]
    values = service(deployment, unit, only)
    image = values.pop("image")
    if unit.is_nginx:
        values["ports"] = _ports(deployment.plan)
    order = "start-first" if slots else "stop-first"
    return {
        "image": image,
        **({"hostname": f"{dns(unit.stem)}{{{{.Task.Slot}}}}"} if slots else {}),
        **values,
        "deploy": {
            # The name leads to the task itself: connections through Swarm's virtual address are
            # forgotten after 15 idle minutes.
            "endpoint_mode": "dnsrr",
            "replicas": unit.at_start,
            "update_config": {**UPDATE, "order": order},
            "rollback_config": {"order": order},
            "restart_policy": {"condition": "any", "delay": "2s"},
            "resources": limits(deployment, unit),
        },
    }
