"""The pods of each process: their container, probes, volumes, and the variables they get."""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Any

from ganglion.export.containers import ROUTES, SECRETS, inside, secret_name
from ganglion.export.deployment import Deployment
from ganglion.export.kubernetes_objects import (
    APP,
    CONFIG,
    FILES,
    SECRET_OBJECT,
    STORES,
    Object,
    labels,
    metadata,
    restricted,
    selector,
)
from ganglion.export.units import Unit
from ganglion.machine.limits import amount
from ganglion.programs.synapse.options import as_yaml

# In seconds. Other machines need some to learn that a pod is about to end; it serves meanwhile.
UNLISTED = 5
# Beyond the time that programs may take to stop.
GRACE = 5
# A process that does not answer for so long is hung. The Job has migrated before main starts.
HANGS, STARTS = 120, 600
# The variables that differ between containers. The others are in ConfigMaps.
OWN = ("WORKERS", "GANGLION_ONLY", "GANGLION_MEMORY")
# The number of a pod of a StatefulSet, in the values of its variables. The label came with 1.28.
INDEX = "$(POD_INDEX)"
POD_NUMBER = {
    "name": "POD_INDEX",
    "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['apps.kubernetes.io/pod-index']"}},
}


def template(deployment: Deployment, unit: Unit, part: str, process: str = "") -> dict[str, Any]:
    """Return the template of a pod.

    `part` is its GANGLION_ONLY, `process` the name of its process in DNS, if all pods of the
    template run the same one.
    """
    settings = deployment.plan.settings
    container = _container(deployment, unit, part)
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(unit.name)},
    }
    return {
        "metadata": {
            "labels": labels(unit.name) | selector(unit.name, process),
            "annotations": {"ganglion/config": _digest(_configs_of(deployment, unit))},
        },
        "spec": {
            # Variables of Services, such as REDIS_PORT, would be read as Ganglion's own.
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": int(settings.stop_timeout) + GRACE + UNLISTED,
            "securityContext": restricted(),
            "topologySpreadConstraints": [spread],
            **_first(unit, container),
            "containers": [container],
            "volumes": list(_volumes(deployment, unit)),
        },
    }


def _first(unit: Unit, container: dict[str, Any]) -> dict[str, Any]:
    """Return the container before main, which waits until the Job has migrated the database."""
    if not unit.is_main:
        return {}
    return {"initContainers": [init_container(container, "wait", "--wait")]}


def init_container(container: dict[str, Any], name: str, *options: str) -> dict[str, Any]:
    """Return main's container with `ganglion migrate` in its place, which serves nothing."""
    without = {"name", "ports", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle"}
    kept = {key: value for key, value in container.items() if key not in without}
    mounts = [item for item in kept.pop("volumeMounts") if item["name"] != "media"]
    return {"name": name, "args": ["migrate", *options], **kept, "volumeMounts": mounts}


def _digest(found: Iterable[Object]) -> str:
    return sha256("".join(map(as_yaml, found)).encode()).hexdigest()[:32]


def configs(deployment: Deployment) -> tuple[Object, ...]:
    """Return the variables of all containers, and those that nginx goes without."""
    proxy, main = deployment.units[:2]
    shared = _shared(deployment, proxy)
    further = {name: text for name, text in _shared(deployment, main).items() if name not in shared}
    return _config(CONFIG, shared), _config(STORES, further)


def _configs_of(deployment: Deployment, unit: Unit) -> tuple[Object, ...]:
    found = configs(deployment)
    return found[:1] if unit.is_nginx else found


def _shared(deployment: Deployment, unit: Unit) -> dict[str, str]:
    found = deployment.variables_of(unit, unit.only[0])
    return {name: text for name, text in found.items() if name not in OWN}


def _config(name: str, data: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(name), "data": data}


def _container(deployment: Deployment, unit: Unit, part: str) -> dict[str, Any]:
    memory = amount(deployment.memory[unit.name])
    values = deployment.variables_of(unit, part)
    own = {name: values[name] for name in OWN} | {
        f"{name}_FILE": f"{SECRETS}/{secret_name(name)}" for name in deployment.secrets_of(unit)
    }
    quantity = f"{memory}i"
    return {
        "name": APP,
        "image": APP,
        "envFrom": [
            {"configMapRef": {"name": item["metadata"]["name"]}}
            for item in _configs_of(deployment, unit)
        ],
        "env": [
            *([POD_NUMBER] if INDEX in part else []),
            *({"name": name, "value": value} for name, value in own.items()),
        ],
        "ports": list(_ports(deployment, unit)),
        "resources": {
            "requests": {"cpu": "100m", "memory": quantity},
            "limits": {"memory": quantity},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        **_probes(deployment, unit),
        # It serves until all have taken it from their lists; SIGTERM then ends it in order.
        "lifecycle": {"preStop": {"sleep": {"seconds": UNLISTED}}},
        "volumeMounts": list(_mounts(deployment, unit)),
    }


def _ports(deployment: Deployment, unit: Unit) -> Iterator[dict[str, Any]]:
    settings = deployment.plan.settings
    if unit.is_nginx:
        yield {"name": "http", "containerPort": settings.http_port}
        return
    # Each process is at a host of its own, so all of a unit have the same ports.
    process = unit.processes[0]
    yield {"name": "http", "containerPort": process.http.port}
    if process.replication is not None:
        yield {"name": "replication", "containerPort": process.replication.port}
    if settings.enable_metrics:
        yield {"name": "metrics", "containerPort": process.metrics.port}


def _probes(deployment: Deployment, unit: Unit) -> dict[str, Any]:
    """Return the probes. /health of a process says that its reactor runs, and nothing of lag."""
    port = deployment.plan.settings.http_port
    ask: dict[str, Any] = {"httpGet": {"path": "/health", "port": "http"}}
    if unit.is_nginx:
        ask = {"tcpSocket": {"port": port}}
    return {
        "startupProbe": {**ask, "periodSeconds": 2, "failureThreshold": STARTS // 2},
        "livenessProbe": {
            **ask,
            "periodSeconds": 20,
            "timeoutSeconds": 20,
            "failureThreshold": HANGS // 20,
        },
        "readinessProbe": {**ask, "periodSeconds": 5, "timeoutSeconds": 5},
    }


def _volumes(deployment: Deployment, unit: Unit) -> Iterator[dict[str, Any]]:
    for name in ("run", "temporary", *([] if unit.is_main else ["data"])):
        yield {"name": name, "emptyDir": {}}
    if deployment.secrets_of(unit):
        yield {"name": "secrets", "secret": {"secretName": SECRET_OBJECT, "defaultMode": 0o440}}
    if _serves_media(unit):
        yield {"name": "media", "persistentVolumeClaim": {"claimName": "media"}}
    files = _files(deployment, unit)
    if files:
        items = [{"key": key, "path": key} for key, _, _ in files]
        source = {"secretName": FILES, "defaultMode": 0o440, "items": items}
        yield {"name": "files", "secret": source}


def _mounts(deployment: Deployment, unit: Unit) -> Iterator[dict[str, Any]]:
    yield {"name": "run", "mountPath": "/run/ganglion"}
    yield {"name": "temporary", "mountPath": "/tmp"}  # noqa: S108 - in the container
    yield {"name": "data", "mountPath": "/data"}
    if deployment.secrets_of(unit):
        yield {"name": "secrets", "mountPath": SECRETS, "readOnly": True}
    if _serves_media(unit):
        yield {"name": "media", "mountPath": "/data/media_store"}
    for key, _, place in _files(deployment, unit):
        yield {"name": "files", "mountPath": place, "subPath": key, "readOnly": True}


def operators_files(deployment: Deployment) -> tuple[tuple[str, str], ...]:
    """Return the key of each of the operator's files in its Secret, and the file's path here."""
    found = (*deployment.configuration, *([deployment.routes] if deployment.routes else []))
    return tuple(
        (f"{number}-{path.rpartition('/')[2]}", path) for number, path in enumerate(found, 1)
    )


def _files(deployment: Deployment, unit: Unit) -> list[tuple[str, str, str]]:
    """Return the files that a unit reads: their keys, their paths here, and those in its pods."""
    return [
        (key, path, ROUTES if path == deployment.routes else inside(deployment, path))
        for key, path in operators_files(deployment)
        if (path == deployment.routes) == unit.is_nginx
    ]


def _serves_media(unit: Unit) -> bool:
    return any("media" in process.resources for process in unit.processes)
