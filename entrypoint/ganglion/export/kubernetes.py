"""Kubernetes: a directory for `kubectl apply --kustomize`, without a chart.

Each process that must run once is a StatefulSet of one pod, which is never started twice. Each
reader is a Deployment of one pod, which is replaced by starting the next one first. A process is at
the headless Service of its own name, so nginx distributes keys among the same names as elsewhere,
and users stay at their reader. Objects that need further resource types are in `optional`.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.export import kubernetes_network
from ganglion.export.containers import SECRETS, inside, secret_name
from ganglion.export.deployment import Deployment
from ganglion.export.kubernetes_objects import (
    APP,
    CONFIG,
    FILES,
    SECRET_OBJECT,
    Object,
    claim,
    labels,
    metadata,
    pod_security,
    restricted,
    selector,
)
from ganglion.export.kubernetes_stores import stores
from ganglion.export.units import Unit, dns
from ganglion.files.file import File
from ganglion.machine.limits import amount
from ganglion.programs.synapse.options import as_yaml
from ganglion.topology.topology import Process

# A StatefulSet adds 11 characters to its name in a label of 63.
LONGEST_NAME = 52
# In seconds. Other machines need some to learn that a pod is about to end; it serves meanwhile.
UNLISTED = 5
# Beyond the time that programs may take to stop.
GRACE = 5
PROXIES = 2
# A process that neither migrates nor answers for so long is hung; a migration may take a day.
HANGS, STARTS, MIGRATES = 120, 600, 24 * 3600
# The variables that differ between containers. The others are in the ConfigMap.
OWN = ("WORKERS", "GANGLION_ONLY", "GANGLION_MEMORY")
HEADER = """\
# Made by `ganglion export kubernetes`. Put changes into an overlay of kustomize. Once:
#
#   kubectl create namespace ganglion
#   kubectl -n ganglion create secret generic ganglion \\
{secrets}
{files}#
# then, and after each export:
#
#   kubectl apply --kustomize DIR
#   kubectl -n ganglion exec statefulset/main -- ganglion register-user alice --admin
"""


def render(deployment: Deployment, _path: str) -> tuple[File, ...]:
    """Return every file of the directory. Raises ConfigError for names that are too long."""
    problems = list(_too_long(deployment))
    if problems:
        raise ConfigError(problems)
    content: dict[str, Sequence[Object]] = {
        "namespace.yaml": (_namespace(),),
        "config.yaml": (_config(deployment),),
        "network.yaml": tuple(kubernetes_network.policies(deployment)),
        **{f"{unit.name}.yaml": tuple(_unit(deployment, unit)) for unit in deployment.units},
        **{f"{name}.yaml": objects for name, objects in stores(deployment)},
    }
    media = claim("media", "50Gi", "ReadWriteMany")
    content["media.yaml"] = (media,)
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": APP,
        "resources": list(content),
        "images": [{"name": APP, "newName": APP}],
    }
    optional = {
        "optional/route.yaml": (_route(),),
        "optional/monitor.yaml": tuple(_monitor(deployment)),
    }
    files = {name: _documents(objects) for name, objects in (content | optional).items()}
    files["kustomization.yaml"] = _header(deployment) + as_yaml(kustomization)
    return tuple(File(path=path, content=text) for path, text in sorted(files.items()))


def _too_long(deployment: Deployment) -> Iterator[Problem]:
    for unit in deployment.units:
        for part in unit.only:
            if len(part) > LONGEST_NAME:
                yield Problem(
                    variable="WORKERS",
                    value=part,
                    message=f"is a name of {len(part)} characters; Kubernetes takes {LONGEST_NAME}",
                    hint="give the entry a shorter name, as in NAME=ROLE",
                )


def _documents(objects: Sequence[Object]) -> str:
    return "---\n".join(as_yaml(item) for item in objects)


def _header(deployment: Deployment) -> str:
    lines = []
    for name in deployment.secrets:
        value = "$(openssl rand -hex 32)"
        if name == "SYNAPSE_SIGNING_KEY":
            value = "$(docker run --rm --entrypoint generate_signing_key ganglion)"
        lines.append(f'#     "--from-literal={secret_name(name)}={value}"')
    files = [f"#     --from-file={key}={path} \\" for key, path in _files(deployment)]
    if files:
        files[-1] = files[-1].removesuffix(" \\")
        files.insert(0, f"#   kubectl -n ganglion create secret generic {FILES} \\")
    return HEADER.format(secrets=" \\\n".join(lines), files="".join(f"{line}\n" for line in files))


def _files(deployment: Deployment) -> tuple[tuple[str, str], ...]:
    """Return the key of each of the operator's files in its Secret, and the file's path here."""
    return tuple(
        (f"{number}-{path.rpartition('/')[2]}", path)
        for number, path in enumerate(deployment.configuration, 1)
    )


def _namespace() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": APP, "labels": pod_security()},
    }


def _config(deployment: Deployment) -> Object:
    """The variables that all containers have with the same values."""
    unit = deployment.units[0]
    found = deployment.variables_of(unit, unit.only[0])
    data = {name: text for name, text in found.items() if name not in OWN}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(CONFIG), "data": data}


def _unit(deployment: Deployment, unit: Unit) -> Iterator[Object]:
    if unit.is_nginx:
        yield _nginx_service(deployment)
        yield _deployment(deployment, unit, unit.only[0], replicas=PROXIES)
        yield _budget(unit)
        return
    for process in unit.processes:
        name = dns(process.name)
        yield _service(deployment, unit, process)
        if unit.single:
            yield _stateful_set(deployment, unit, process)
        else:
            yield _deployment(deployment, unit, process.name, replicas=1, name=name)
    if unit.replicas > 1:
        yield _budget(unit)


def _service(deployment: Deployment, unit: Unit, process: Process) -> Object:
    """Return the Service that gives a process its host name."""
    addresses = {"http": process.http, "replication": process.replication}
    if deployment.plan.settings.enable_metrics:
        addresses["metrics"] = process.metrics
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(dns(process.name), unit.name),
        "spec": {
            "clusterIP": "None",
            "selector": selector(unit.name, dns(process.name)),
            # Others reach a writer while it comes up. A reader that is not ready gets nothing.
            "publishNotReadyAddresses": unit.single,
            "ports": [
                {"name": name, "port": address.port, "targetPort": address.port}
                for name, address in addresses.items()
                if address is not None
            ],
        },
    }


def _nginx_service(deployment: Deployment) -> Object:
    settings = deployment.plan.settings
    ports = [{"name": "http", "port": settings.http_port, "targetPort": settings.http_port}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata("nginx", "nginx"),
        "spec": {"type": "ClusterIP", "selector": selector("nginx", "nginx"), "ports": ports},
    }


def _stateful_set(deployment: Deployment, unit: Unit, process: Process) -> Object:
    name = dns(process.name)
    spec: dict[str, Any] = {
        "serviceName": name,
        "replicas": 1,
        "selector": {"matchLabels": selector(unit.name, name)},
        "template": _template(deployment, unit, process.name),
    }
    if unit.is_main:
        found = claim("data", "10Gi", "ReadWriteOnce")
        spec["volumeClaimTemplates"] = [{"metadata": {"name": "data"}, "spec": found["spec"]}]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(name, unit.name),
        "spec": spec,
    }


def _deployment(
    deployment: Deployment, unit: Unit, part: str, *, replicas: int, name: str = ""
) -> Object:
    own = name or unit.name
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(own, unit.name),
        "spec": {
            "replicas": replicas,
            # Start first: a reader may run twice for a moment.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0},
            },
            "selector": {"matchLabels": selector(unit.name, own)},
            "template": _template(deployment, unit, part),
        },
    }


def _budget(unit: Unit) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(unit.name, unit.name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(unit.name)}},
    }


def _template(deployment: Deployment, unit: Unit, part: str) -> dict[str, Any]:
    settings = deployment.plan.settings
    name = dns(part)
    spread = {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": selector(unit.name)},
    }
    return {
        "metadata": {
            "labels": labels(unit.name) | selector(unit.name, name),
            "annotations": {"ganglion/config": _digest(_config(deployment))},
        },
        "spec": {
            # Variables of Services, such as REDIS_PORT, would be read as Ganglion's own.
            "enableServiceLinks": False,
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": int(settings.stop_timeout) + GRACE + UNLISTED,
            "securityContext": restricted(),
            "topologySpreadConstraints": [spread],
            "containers": [_container(deployment, unit, part)],
            "volumes": list(_volumes(deployment, unit)),
        },
    }


def _digest(found: Object) -> str:
    return sha256(as_yaml(found).encode()).hexdigest()[:32]


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
        "envFrom": [{"configMapRef": {"name": CONFIG}}],
        "env": [{"name": name, "value": value} for name, value in own.items()],
        "ports": list(_ports(deployment, unit, part)),
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


def _ports(deployment: Deployment, unit: Unit, part: str) -> Iterator[dict[str, Any]]:
    settings = deployment.plan.settings
    if unit.is_nginx:
        yield {"name": "http", "containerPort": settings.http_port}
        return
    process = next(item for item in unit.processes if item.name == part)
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
    starts = MIGRATES if unit.is_main else STARTS
    return {
        "startupProbe": {**ask, "periodSeconds": 2, "failureThreshold": starts // 2},
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
    if not unit.is_nginx and deployment.configuration:
        yield {"name": "files", "secret": {"secretName": FILES, "defaultMode": 0o440}}


def _mounts(deployment: Deployment, unit: Unit) -> Iterator[dict[str, Any]]:
    yield {"name": "run", "mountPath": "/run/ganglion"}
    yield {"name": "temporary", "mountPath": "/tmp"}  # noqa: S108 - in the container
    yield {"name": "data", "mountPath": "/data"}
    if deployment.secrets_of(unit):
        yield {"name": "secrets", "mountPath": SECRETS, "readOnly": True}
    if _serves_media(unit):
        yield {"name": "media", "mountPath": "/data/media_store"}
    if not unit.is_nginx:
        for key, path in _files(deployment):
            place = inside(deployment, path)
            yield {"name": "files", "mountPath": place, "subPath": key, "readOnly": True}


def _serves_media(unit: Unit) -> bool:
    return any("media" in process.resources for process in unit.processes)


def _route() -> Object:
    """Return a route of the Gateway API, for a Gateway with the name `gateway`."""
    return {
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "HTTPRoute",
        "metadata": {"name": APP, "namespace": APP},
        "spec": {
            "parentRefs": [{"name": "gateway"}],
            "hostnames": ["matrix.example.org"],
            "rules": [
                {
                    "backendRefs": [{"name": "nginx", "port": 8008}],
                    # Longer than any long poll.
                    "timeouts": {"request": "600s"},
                }
            ],
        },
    }


def _monitor(deployment: Deployment) -> Iterator[Object]:
    """Yield the monitor of Prometheus' operator, and the policy that lets Prometheus in."""
    yield {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": APP, "namespace": APP},
        "spec": {
            "selector": {"matchLabels": {"app.kubernetes.io/name": APP}},
            "endpoints": [{"port": "metrics", "path": "/_synapse/metrics"}],
        },
    }
    ports = {process.metrics.port for process in deployment.plan.topology.processes}
    yield kubernetes_network.ingress_from_namespace(
        "monitoring", "monitoring", sorted(port for port in ports if port is not None)
    )
