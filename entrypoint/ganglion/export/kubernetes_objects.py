"""Parts that the objects of Kubernetes share: names, labels, security, claims of storage."""

from typing import Any

Object = dict[str, Any]

APP = "ganglion"
# The ConfigMaps of variables: those of all pods, and those of PostgreSQL and Redis.
CONFIG, STORES = "ganglion", "ganglion-stores"
# The Secret of secrets, and that of the operator's files.
SECRET_OBJECT, FILES = "ganglion", "ganglion-files"
# The number of Synapse's account in the image.
ACCOUNT = 991
COMPONENT, PROCESS = "app.kubernetes.io/component", "ganglion/process"


def labels(unit: str = "") -> dict[str, str]:
    """Return the labels of every object, with its unit."""
    own = {COMPONENT: unit} if unit else {}
    return {"app.kubernetes.io/name": APP, "app.kubernetes.io/part-of": APP, **own}


def selector(unit: str, process: str = "") -> dict[str, str]:
    """Return the labels that pods of a unit have, or of one process of it."""
    return {COMPONENT: unit, **({PROCESS: process} if process else {})}


def metadata(name: str, unit: str = "") -> dict[str, Any]:
    """Return the metadata of an object. kustomize sets the namespace."""
    return {"name": name, "labels": labels(unit)}


def pod_security() -> dict[str, str]:
    """Return the labels by which a namespace accepts no pod but a restricted one.

    https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    prefix = "pod-security.kubernetes.io"
    return {f"{prefix}/{mode}": "restricted" for mode in ("enforce", "audit", "warn")}


def restricted(account: int = ACCOUNT) -> dict[str, Any]:
    """Return the security context of a restricted pod, whose volumes its account may write."""
    return {
        "runAsNonRoot": True,
        "runAsUser": account,
        "runAsGroup": account,
        "fsGroup": account,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def claim(name: str, size: str, mode: str) -> Object:
    """Return a claim of storage."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": metadata(name),
        "spec": {"accessModes": [mode], "resources": {"requests": {"storage": size}}},
    }
