"""PostgreSQL and Redis in the same namespace, where the variables name none."""

from collections.abc import Iterator
from typing import Any

from ganglion.export import containers
from ganglion.export.containers import SECRETS, secret_name
from ganglion.export.deployment import Deployment
from ganglion.export.kubernetes_objects import (
    SECRET_OBJECT,
    Object,
    claim,
    labels,
    metadata,
    restricted,
    selector,
)
from ganglion.export.units import POSTGRES, REDIS

PORTS = {POSTGRES: 5432, REDIS: 6379}
IMAGES = {POSTGRES: "postgres:17", REDIS: "redis:8"}
MEMORY = {POSTGRES: "1Gi", REDIS: "256Mi"}
# The numbers of both accounts in the official images.
ACCOUNT = 999
PROBES: dict[str, list[str]] = {
    POSTGRES: ["pg_isready", "--quiet", "--host=127.0.0.1"],
    # NOAUTH is a response too: it asks for the password.
    REDIS: ["sh", "-c", "redis-cli ping | grep --quiet -e PONG -e NOAUTH"],
}


def stores(deployment: Deployment) -> Iterator[tuple[str, tuple[Object, ...]]]:
    """Yield the objects of each store that is brought along, by its name."""
    for name, service in containers.stores(deployment).items():
        yield name, (_service(name), _stateful_set(name, service))


def _service(name: str) -> Object:
    ports = [{"name": name, "port": PORTS[name], "targetPort": PORTS[name]}]
    spec = {"clusterIP": "None", "selector": selector(name), "ports": ports}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata(name, name), "spec": spec}


def _stateful_set(name: str, service: dict[str, Any]) -> Object:
    key = f"{name}_password"
    mounts = [
        {"name": "secrets", "mountPath": SECRETS, "readOnly": True},
        {"name": "temporary", "mountPath": "/tmp"},  # noqa: S108 - in the container
        {"name": "data", "mountPath": "/var/lib/postgresql" if name == POSTGRES else "/data"},
    ]
    volumes: list[dict[str, Any]] = [
        {
            "name": "secrets",
            "secret": {
                "secretName": SECRET_OBJECT,
                "defaultMode": 0o440,
                "items": [{"key": secret_name(key), "path": key}],
            },
        },
        {"name": "temporary", "emptyDir": {}},
    ]
    if name == POSTGRES:
        mounts.append({"name": "sockets", "mountPath": "/var/run/postgresql"})
        volumes.append({"name": "sockets", "emptyDir": {}})
    else:
        volumes.append({"name": "data", "emptyDir": {}})
    # Compose doubles a dollar that is the shell's.
    words = [word.replace("$$", "$") for word in service["command"]]
    probe = {"exec": {"command": PROBES[name]}, "periodSeconds": 10, "timeoutSeconds": 5}
    container = {
        "name": name,
        "image": IMAGES[name],
        "args" if name == POSTGRES else "command": words,
        "env": [{"name": key, "value": value} for key, value in service["environment"].items()],
        "ports": [{"name": name, "containerPort": PORTS[name]}],
        "resources": {
            "requests": {"cpu": "100m", "memory": MEMORY[name]},
            "limits": {"memory": MEMORY[name]},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "startupProbe": {**probe, "failureThreshold": 60},
        "livenessProbe": {**probe, "failureThreshold": 6},
        "readinessProbe": probe,
        "volumeMounts": mounts,
    }
    spec: dict[str, Any] = {
        "serviceName": name,
        "replicas": 1,
        "selector": {"matchLabels": selector(name)},
        "template": {
            "metadata": {"labels": labels(name)},
            "spec": {
                "enableServiceLinks": False,
                "automountServiceAccountToken": False,
                "securityContext": restricted(ACCOUNT),
                "containers": [container],
                "volumes": volumes,
            },
        },
    }
    if name == POSTGRES:
        found = claim("data", "50Gi", "ReadWriteOnce")
        spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": found["spec"]}]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(name, name),
        "spec": spec,
    }
