"""The export for Kubernetes of every preset keeps the rules of Kubernetes, and our own."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ganglion.errors import ConfigError
from ganglion.export import compose, kubernetes, swarm
from ganglion.export.deployment import TRIED, Deployment, deployment
from ganglion.export.units import MIGRATE, POSTGRES, REDIS, dns, flows
from ganglion.routing.operator_routes import OperatorRoutes
from ganglion.routing.table import ROUTES
from ganglion.topology.roles import PRESETS
from tests.plans import plan

EVERY_PRESET = pytest.mark.parametrize("preset", sorted(PRESETS))
ENVIRON = {"SYNAPSE_SERVER_NAME": "example.org"}
COMPONENT = "app.kubernetes.io/component"
# The version that scripts/try-kubernetes builds.
VERSION = "1.34"
Object = dict[str, Any]


def made(preset: str, **environ: str) -> Deployment:
    return deployment({**ENVIRON, **environ, "WORKERS": preset}, plan)


def texts(found: Deployment) -> dict[str, str]:
    return {file.path: file.content for file in kubernetes.render(found, "stack")}


def objects(files: Mapping[str, str]) -> Iterator[Object]:
    """Yield every object that kustomize applies."""
    listed = yaml.safe_load(files["kustomization.yaml"])["resources"]
    assert set(listed) | {"kustomization.yaml"} == {
        path for path in files if not path.startswith("optional/")
    }
    for path in listed:
        yield from yaml.safe_load_all(files[path])


@cache
def of_preset(preset: str) -> tuple[Object, ...]:
    return tuple(objects(texts(made(preset))))


def named(found: tuple[Object, ...], *kinds: str) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in found if item["kind"] in kinds}


def workloads(preset: str) -> dict[str, Object]:
    return named(of_preset(preset), "StatefulSet", "Deployment")


def migration(found: Iterable[Object]) -> Object:
    (job,) = named(tuple(found), "Job").values()
    return job


def test_every_object_fits_the_schema() -> None:
    # `full` has objects of every kind, and checking takes half a second for each.
    seen: set[tuple[str, bool]] = set()
    metrics = objects(texts(made("medium", SYNAPSE_ENABLE_METRICS="yes")))
    for item in (*of_preset("full"), *metrics):
        kind = (item["kind"], "metrics" in str(item))
        if kind not in seen or item["kind"] == "NetworkPolicy":
            kubernetes_validate.validate(item, VERSION, strict=True)
        seen.add(kind)
    assert {kind for kind, _ in seen} == {
        "ConfigMap",
        "Deployment",
        "Job",
        "Namespace",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
        "StatefulSet",
    }
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**item, "unknown": 1}, VERSION, strict=True)


@EVERY_PRESET
def test_each_process_has_exactly_one_home_and_a_service_of_its_name(preset: str) -> None:
    found = made(preset)
    pods = workloads(preset)
    services = named(of_preset(preset), "Service")
    for process in found.plan.topology.processes:
        name = dns(process.name)
        homes = [key for key, item in pods.items() if only(item) == process.name]
        assert homes == [name]
        kind = "StatefulSet" if process.single else "Deployment"
        assert (pods[name]["kind"], pods[name]["spec"]["replicas"]) == (kind, 1)
        spec = services[name]["spec"]
        assert spec["clusterIP"] == "None"
        own = pods[name]["spec"]["template"]["metadata"]["labels"]
        assert spec["selector"].items() <= own.items()
        assert not any(
            spec["selector"].items() <= item["spec"]["template"]["metadata"]["labels"].items()
            for key, item in pods.items()
            if key != name
        )
        assert {port["port"] for port in spec["ports"]} >= {process.http.port}
        if kind == "StatefulSet":
            assert pods[name]["spec"]["serviceName"] == name
    assert only(pods["nginx"]) == "nginx"
    assert pods["nginx"]["spec"]["replicas"] == 2
    expected = {dns(process.name) for process in found.plan.topology.processes}
    assert pods.keys() == expected | {"nginx", POSTGRES, REDIS}


def only(item: Object) -> str:
    container = item["spec"]["template"]["spec"]["containers"][0]
    values = {row["name"]: row["value"] for row in container["env"]}
    return str(values.get("GANGLION_ONLY", ""))


def variables(found: Iterable[Object], item: Object, index: str = "") -> dict[str, str]:
    """Return the variables that a pod starts with, as the kubelet makes them."""
    maps = named(tuple(found), "ConfigMap")
    (container,) = item["spec"]["template"]["spec"]["containers"]
    values: dict[str, str] = {}
    for source in container["envFrom"]:
        values |= maps[source["configMapRef"]["name"]]["data"]
    for row in container["env"]:
        text = row.get("value", index)
        values[row["name"]] = text.replace("$(POD_INDEX)", values.get("POD_INDEX", "$(POD_INDEX)"))
    return values


@EVERY_PRESET
def test_each_pod_starts_with_the_variables_that_the_export_has_tried(preset: str) -> None:
    found, pods = made(preset), workloads(preset)
    for unit in found.units:
        for part in unit.only:
            secrets = {
                f"{name}_FILE": f"/run/secrets/{name.lower()}" for name in found.secrets_of(unit)
            }
            expected = {**found.variables_of(unit, part), **secrets}
            assert variables(of_preset(preset), pods[dns(part)]) == expected
            assert ("POSTGRES_HOST" in expected) == (not unit.is_nginx)


@EVERY_PRESET
def test_each_pod_is_restricted_and_has_every_probe(preset: str) -> None:
    job = migration(of_preset(preset))
    for item in (*workloads(preset).values(), job):
        spec = item["spec"]["template"]["spec"]
        # Services named redis and postgres would set REDIS_PORT and POSTGRES_PORT.
        assert spec["enableServiceLinks"] is False
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        (container,) = spec["containers"]
        for each in (container, *spec.get("initContainers", ())):
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
        probes = {"startupProbe", "livenessProbe", "readinessProbe"} & container.keys()
        assert len(probes) == (0 if item is job else 3)
        resources = container["resources"]
        assert resources["requests"]["memory"] == resources["limits"]["memory"]
        assert {mount["name"] for mount in container["volumeMounts"]} == {
            *(volume["name"] for volume in spec["volumes"]),
            *(claim["metadata"]["name"] for claim in item["spec"].get("volumeClaimTemplates", ())),
        }
        annotations = item["spec"]["template"]["metadata"].get("annotations", {})
        assert ("ganglion/config" in annotations) == bool(only(item))
        if only(item) and item is not job:
            sleeps = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert spec["terminationGracePeriodSeconds"] > sleeps
            assert spec["topologySpreadConstraints"]


def allowed(policies: list[Object], source: str, target: str, port: int) -> bool:
    """Return whether NetworkPolicies let pods of a component connect to another's port.

    Every pod is denied, so both ends need a rule.
    """
    return _rules(policies, source, "egress", "to", target, port) and _rules(
        policies, target, "ingress", "from", source, port
    )


def _rules(
    policies: list[Object], component: str, direction: str, side: str, other: str, port: int
) -> bool:
    return any(
        policy["spec"]["podSelector"].get("matchLabels") == {COMPONENT: component}
        and admits(policy["spec"].get(direction, ()), side, other, port)
        for policy in policies
    )


def admits(rules: Any, side: str, component: str, port: int) -> bool:
    return any(
        port in {item["port"] for item in rule.get("ports", ())}
        and any(
            component in expression["values"]
            for peer in rule.get(side, ())
            for expression in peer.get("podSelector", {}).get("matchExpressions", ())
        )
        for rule in rules
    )


@EVERY_PRESET
def test_policies_allow_exactly_the_flows(preset: str) -> None:
    found = made(preset)
    policies = list(named(of_preset(preset), "NetworkPolicy").values())
    deny = next(item for item in policies if item["metadata"]["name"] == "default-deny")
    assert deny["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    wanted = {
        (flow.source, flow.target, port) for flow in flows(found.units) for port in flow.ports
    } | {(MIGRATE, POSTGRES, 5432)}
    parts = [MIGRATE, *(unit.name for unit in found.units), POSTGRES, REDIS]
    ports = {port for _, _, port in wanted} | {found.plan.settings.http_port}
    open_to = {
        (source, target, port)
        for source in parts
        for target in parts
        for port in ports
        if source != target and allowed(policies, source, target, port)
    }
    assert open_to == wanted


@EVERY_PRESET
def test_only_nginx_is_public_and_only_synapse_reaches_the_internet(preset: str) -> None:
    policies = named(of_preset(preset), "NetworkPolicy")
    public = {
        name
        for name, item in policies.items()
        if any("from" not in rule for rule in item["spec"].get("ingress", ()))
    }
    assert public == {"nginx"}
    outside = {
        name
        for name, item in policies.items()
        if any("0.0.0.0/0" in str(rule) for rule in item["spec"].get("egress", ()))
    }
    assert outside == {unit.name for unit in made(preset).units if not unit.is_nginx}


def test_a_job_migrates_and_main_waits_for_it() -> None:
    job, pods = migration(of_preset("medium")), workloads("medium")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["migrate"]
    given = variables(of_preset("medium"), job)
    assert given == variables(of_preset("medium"), pods["main"])
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
    waiting = {
        name: [item["args"] for item in pod["spec"]["template"]["spec"]["initContainers"]]
        for name, pod in pods.items()
        if "initContainers" in pod["spec"]["template"]["spec"]
    }
    assert waiting == {"main": [["migrate", "--wait"]]}
    (first,) = pods["main"]["spec"]["template"]["spec"]["initContainers"]
    for key in ("image", "env", "envFrom", "resources"):
        assert first[key] == container[key]
    # No Service finds it.
    own = job["spec"]["template"]["metadata"]["labels"]
    for service in named(of_preset("medium"), "Service").values():
        assert not service["spec"]["selector"].items() <= own.items()


def test_the_job_has_another_name_for_another_image_or_configuration_only() -> None:
    def name(workers: str = "small", version: str = "1", **environ: str) -> str:
        found = deployment(
            {**ENVIRON, "WORKERS": workers, **environ}, plan, ranges=True, version=version
        )
        return str(migration(objects(texts(found)))["metadata"]["name"])

    assert name() == name()
    assert len({name(), name(version="2"), name(SYNAPSE_LOG_LEVEL="DEBUG")}) == 3
    # A reader more does not migrate anything.
    assert name("small, sync=synchrotron:3") == name("small, sync=synchrotron:4")


@cache
def of_range() -> tuple[Deployment, tuple[Object, ...]]:
    workers = "event_persister, sync=synchrotron+initial_synchrotron:2-8, client_reader:2"
    found = deployment({**ENVIRON, "WORKERS": workers}, plan, ranges=True)
    return found, tuple(objects(texts(found)))


def test_a_range_makes_an_autoscaler_of_one_numbered_pool() -> None:
    _, items = of_range()
    for item in items:
        if item["metadata"]["name"] in ("sync", "sync8"):
            kubernetes_validate.validate(item, VERSION, strict=True)
    scalers = named(items, "HorizontalPodAutoscaler")
    assert scalers.keys() == {"sync"}
    spec = scalers["sync"]["spec"]
    assert (spec["minReplicas"], spec["maxReplicas"]) == (2, 8)
    assert spec["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "name": "sync",
    }
    pool = named(items, "StatefulSet")["sync"]["spec"]
    # A number there would undo the autoscaler's at each apply.
    assert "replicas" not in pool
    assert pool["ordinals"] == {"start": 1}
    assert named(items, "PodDisruptionBudget").keys() == {"nginx", "sync", "client-reader"}


def test_each_pod_of_a_range_is_the_process_of_its_number_at_a_host_of_its_own() -> None:
    found, items = of_range()
    pool = named(items, "StatefulSet")["sync"]
    services = named(items, "Service")
    (unit,) = (unit for unit in found.units if unit.name == "sync")
    assert len(unit.processes) == 8
    for number, process in enumerate(unit.processes, 1):
        given = variables(items, pool, str(number))
        assert given.pop("POD_INDEX") == str(number)
        secrets = {f"{name}_FILE" for name in found.secrets_of(unit)}
        own = {name: text for name, text in given.items() if name not in secrets}
        assert own == found.variables_of(unit, process.name)
        secret = {name: TRIED[name] for name in found.secrets_of(unit)}
        chosen = plan({**own, **secret, "POD_INDEX": str(number)})
        assert [item.name for item in chosen.topology.here] == [process.name]
        assert services[process.name]["spec"]["selector"] == {
            COMPONENT: "sync",
            "statefulset.kubernetes.io/pod-name": f"sync-{number}",
        }
    # nginx distributes among all of them, and PostgreSQL has connections for all.
    assert (
        "sync=synchrotron+initial_synchrotron:8"
        in variables(items, named(items, "Deployment")["nginx"])["WORKERS"]
    )
    assert (
        found.connections
        == made(
            "event_persister, sync=synchrotron+initial_synchrotron:8, client_reader:2"
        ).connections
    )
    assert (
        found.connections
        > made(
            "event_persister, sync=synchrotron+initial_synchrotron:2, client_reader:2"
        ).connections
    )


def test_no_preset_has_an_autoscaler_and_no_object_scales_what_runs_once() -> None:
    for preset in PRESETS:
        assert not named(of_preset(preset), "HorizontalPodAutoscaler")
    found, items = of_range()
    single = {unit.name for unit in found.units if unit.single}
    assert "event-persister1" in single
    assert not single & named(items, "HorizontalPodAutoscaler").keys()


def test_external_stores_are_reached_at_their_addresses_only() -> None:
    given = {
        "POSTGRES_HOST": "192.0.2.7",
        "POSTGRES_PORT": "6432",
        "POSTGRES_PASSWORD": "x",
        "REDIS_HOST": "cache.example",
    }
    found = tuple(objects(texts(made("none", **given))))
    assert not named(found, "StatefulSet").keys() & {POSTGRES, REDIS}
    egress = named(found, "NetworkPolicy")["main"]["spec"]["egress"]
    assert {
        "ports": [{"protocol": "TCP", "port": 6432}],
        "to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}],
    } in egress
    # A policy cannot name a host.
    assert {"ports": [{"protocol": "TCP", "port": 6379}]} in egress


def test_a_changed_variable_changes_every_pod() -> None:
    def annotations(**environ: str) -> set[str]:
        found = named(tuple(objects(texts(made("small", **environ)))), "StatefulSet", "Deployment")
        return {
            item["spec"]["template"]["metadata"]["annotations"]["ganglion/config"]
            for item in found.values()
            if only(item)
        }

    # nginx goes without those of PostgreSQL and Redis.
    assert len(annotations()) == 2
    assert annotations() == annotations()
    assert not annotations() & annotations(SYNAPSE_LOG_LEVEL="DEBUG")


def test_names_that_are_too_long_are_refused() -> None:
    name = "a" * 52
    with pytest.raises(ConfigError) as raised:
        kubernetes.render(made(f"{name}=synchrotron"), "stack")
    assert [item.message for item in raised.value.problems] == [
        "is a name of 53 characters; Kubernetes takes 52"
    ]


def test_the_operators_files_are_a_secret_that_the_user_makes() -> None:
    found = made("small")
    path = f"{found.plan.settings.data}/homeserver.d/mine.yaml"
    operator = type(found.plan.operator)(paths=(path,))
    files = texts(replace(found, plan=replace(found.plan, operator=operator)))
    assert f"--from-file=1-mine.yaml={path}\n" in files["kustomization.yaml"]
    pods = named(tuple(objects(files)), "StatefulSet", "Deployment")
    mounted = {
        name
        for name, item in pods.items()
        for mount in item["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
        if mount.get("subPath") == "1-mine.yaml"
        and mount["mountPath"] == "/data/homeserver.d/mine.yaml"
    }
    assert mounted == pods.keys() - {"nginx", POSTGRES, REDIS}


def test_nginx_alone_reads_the_operators_routes() -> None:
    found = made("small", GANGLION_ROUTES="/etc/mine.yaml")
    assert "GANGLION_ROUTES" not in found.environment
    found = replace(found, plan=replace(found.plan, routes=OperatorRoutes(routes=ROUTES[1:])))
    files = texts(found)
    assert "--from-file=1-mine.yaml=/etc/mine.yaml\n" in files["kustomization.yaml"]
    mounts = {
        name: [
            (mount["mountPath"], mount["subPath"])
            for mount in item["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]
            if "subPath" in mount
        ]
        for name, item in named(tuple(objects(files)), "StatefulSet", "Deployment").items()
    }
    assert mounts.pop("nginx") == [("/data/routes.yaml", "1-mine.yaml")]
    assert not any(mounts.values())
    for target in (compose, swarm):
        (file,) = target.render(found, "stack")
        volumes = {
            name: service.get("volumes", [])
            for name, service in yaml.safe_load(file.content)["services"].items()
        }
        assert "/etc/mine.yaml:/data/routes.yaml:ro" in volumes.pop("nginx")
        assert "routes.yaml" not in str(volumes)
