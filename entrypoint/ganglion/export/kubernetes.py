"""Kubernetes: a directory for `kubectl apply --kustomize`, without a chart.

Each process that must run once is a StatefulSet of one pod, which is never started twice. Each
reader is a Deployment of one pod, which is replaced by starting the next one first. A process is at
the headless Service of its own name, so nginx distributes keys among the same names as elsewhere,
and users stay at their reader. Objects that need further resource types are in `optional`.
"""

from collections.abc import Iterator, Sequence

from ganglion.errors import ConfigError, Problem
from ganglion.export import kubernetes_network
from ganglion.export.containers import command_of, requirements, secret_name
from ganglion.export.deployment import Deployment
from ganglion.export.kubernetes_migration import job
from ganglion.export.kubernetes_objects import APP, FILES, Object, claim, pod_security
from ganglion.export.kubernetes_pods import configs, operators_files
from ganglion.export.kubernetes_stores import stores
from ganglion.export.kubernetes_workloads import of_unit
from ganglion.export.units import MIGRATE
from ganglion.files.file import File
from ganglion.programs.synapse.options import as_yaml

# A StatefulSet adds 11 characters to its name in a label of 63.
LONGEST_NAME = 52
HEADER = """\
{needs}# Made by `ganglion export kubernetes`. Put changes into an overlay of kustomize. Once:
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
        "config.yaml": configs(deployment),
        "network.yaml": tuple(kubernetes_network.policies(deployment)),
        f"{MIGRATE}.yaml": (job(deployment),),
        **{f"{unit.name}.yaml": tuple(of_unit(deployment, unit)) for unit in deployment.units},
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
    lines = [
        f'#     "--from-literal={secret_name(name)}=$({command_of(deployment, name)})"'
        for name in deployment.secrets
    ]
    files = [f"#     --from-file={key}={path} \\" for key, path in operators_files(deployment)]
    if files:
        files[-1] = files[-1].removesuffix(" \\")
        files.insert(0, f"#   kubectl -n ganglion create secret generic {FILES} \\")
    return HEADER.format(
        needs=requirements(deployment),
        secrets=" \\\n".join(lines),
        files="".join(f"{line}\n" for line in files),
    )


def _namespace() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": APP, "labels": pod_security()},
    }


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
