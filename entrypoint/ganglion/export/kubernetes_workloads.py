"""The objects of each unit: what keeps its pods running, and where others find them."""

from collections.abc import Iterator
from typing import Any

from ganglion.export.deployment import Deployment
from ganglion.export.kubernetes_objects import Object, claim, metadata, selector
from ganglion.export.kubernetes_pods import INDEX, template
from ganglion.export.units import Unit, dns
from ganglion.topology.topology import Process

PROXIES = 2
# Processors that a pod of a range uses before another is added. Python's lock lets a process use
# one, and requests wait at more than 70 % of it: docs/scaling.md.
BUSY = "700m"


def of_unit(deployment: Deployment, unit: Unit) -> Iterator[Object]:
    """Yield every object of a unit."""
    if unit.is_nginx:
        yield _nginx_service(deployment)
        yield _deployment(deployment, unit, unit.only[0], replicas=PROXIES)
        yield _budget(unit)
        return
    if unit.least is not None:
        yield from _scaled(deployment, unit)
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


def _scaled(deployment: Deployment, unit: Unit) -> Iterator[Object]:
    """Yield the objects of a pool whose number of pods changes within a range.

    Only a StatefulSet numbers its pods, and a process has the number of its pod. The Service of a
    process that does not run has no address, and nginx leaves it out.
    """
    for process in unit.processes:
        number = process.name.removeprefix(process.group)
        pod = {"statefulset.kubernetes.io/pod-name": f"{unit.name}-{number}"}
        yield _service(deployment, unit, process, pod)
    yield {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(unit.name, unit.name),
        "spec": {"clusterIP": "None", "selector": selector(unit.name)},
    }
    yield {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(unit.name, unit.name),
        # Without the number of replicas, which the next object changes.
        "spec": {
            "serviceName": unit.name,
            "ordinals": {"start": 1},
            "podManagementPolicy": "Parallel",
            "selector": {"matchLabels": selector(unit.name)},
            "template": template(deployment, unit, f"{unit.stem}{INDEX}"),
        },
    }
    yield _autoscaler(unit)
    yield _budget(unit)


def _autoscaler(unit: Unit) -> Object:
    """Return the autoscaler of a pool: https://kubernetes.io/docs/concepts/workloads/autoscaling/.

    Users move to another reader with each change, and nginx ends long polls, so it takes its time,
    above all to remove a pod.
    """
    busy = {"type": "AverageValue", "averageValue": BUSY}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(unit.name, unit.name),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": unit.name},
            "minReplicas": unit.at_start,
            "maxReplicas": unit.replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": busy}}],
            "behavior": {
                "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 60}]},
                "scaleDown": {
                    "stabilizationWindowSeconds": 900,
                    "policies": [{"type": "Pods", "value": 1, "periodSeconds": 300}],
                },
            },
        },
    }


def _service(
    deployment: Deployment, unit: Unit, process: Process, pod: dict[str, str] | None = None
) -> Object:
    """Return the Service that gives a process its host name.

    `pod` are the labels of its pod, if they are not those of the process.
    """
    addresses = {"http": process.http, "replication": process.replication}
    if deployment.plan.settings.enable_metrics:
        addresses["metrics"] = process.metrics
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(dns(process.name), unit.name),
        "spec": {
            "clusterIP": "None",
            "selector": selector(unit.name, "" if pod else dns(process.name)) | (pod or {}),
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
        "template": template(deployment, unit, process.name, name),
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
            "template": template(deployment, unit, part, own),
        },
    }


def _budget(unit: Unit) -> Object:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(unit.name, unit.name),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(unit.name)}},
    }
