"""NetworkPolicies: nothing is allowed but the connections that exist."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import Any

from ganglion.export.deployment import Deployment
from ganglion.export.kubernetes_objects import COMPONENT, Object, metadata, selector
from ganglion.export.units import MIGRATE, POSTGRES, REDIS, Flow, Unit, flows

# Networks that are not the Internet: nothing there is asked for media, keys or previews.
INSIDE_4 = ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"]
INSIDE_6 = ["fc00::/7", "fe80::/10"]


def policies(deployment: Deployment) -> Iterator[Object]:
    """Yield the denial of everything, and one policy for each unit and store."""
    yield _policy("default-deny", {}, ingress=[], egress=[])
    yield _policy(
        "dns",
        {},
        egress=[
            {
                "to": [
                    {
                        "namespaceSelector": {
                            "matchLabels": {"kubernetes.io/metadata.name": "kube-system"}
                        }
                    }
                ],
                "ports": [{"protocol": kind, "port": 53} for kind in ("UDP", "TCP")],
            }
        ],
    )
    found = flows(deployment.units)
    for unit in deployment.units:
        yield _of_unit(deployment, unit, found)
    yield _policy(MIGRATE, selector(MIGRATE), ingress=[], egress=[_to_store(deployment, POSTGRES)])
    for store in deployment.stores:
        sources = [MIGRATE] if store == POSTGRES else []
        sources += [flow.source for flow in found if flow.target == store]
        ports = {port for flow in found if flow.target == store for port in flow.ports}
        yield _policy(store, selector(store), ingress=[_from(sources, sorted(ports))], egress=[])


def ingress_from_namespace(name: str, namespace: str, ports: Sequence[int]) -> Object:
    """Return a policy that lets a namespace connect to all pods at some ports."""
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    return _policy(name, {}, ingress=[{"from": [peer], "ports": _ports(ports)}])


def _of_unit(deployment: Deployment, unit: Unit, found: Sequence[Flow]) -> Object:
    ingress: list[dict[str, Any]] = []
    if unit.is_nginx:
        # Public: clients and other homeservers.
        ingress.append({"ports": _ports([deployment.plan.settings.http_port])})
    into = [flow for flow in found if flow.target == unit.name]
    ingress.extend(
        _from([flow.source for flow in into if flow.ports == ports], ports)
        for ports in sorted({flow.ports for flow in into})
    )
    egress: list[dict[str, Any]] = []
    out = [flow for flow in found if flow.source == unit.name]
    for flow in out:
        if flow.target in (POSTGRES, REDIS):
            egress.append(_to_store(deployment, flow.target))
        else:
            egress.append({"to": [_pods([flow.target])], "ports": _ports(flow.ports)})
    if not unit.is_nginx:
        egress.append(
            {
                "to": [
                    {"ipBlock": {"cidr": "0.0.0.0/0", "except": INSIDE_4}},
                    {"ipBlock": {"cidr": "::/0", "except": INSIDE_6}},
                ]
            }
        )
    return _policy(unit.name, selector(unit.name), ingress=ingress, egress=egress)


def _to_store(deployment: Deployment, store: str) -> dict[str, Any]:
    """Return the rule for a store: in this namespace, at an address, or at its port anywhere."""
    settings = deployment.plan.settings
    if store in deployment.stores:
        return {"to": [_pods([store])], "ports": _ports([5432 if store == POSTGRES else 6379])}
    host, port = (
        (settings.postgres_host, settings.postgres_port)
        if store == POSTGRES
        else (settings.redis_host, settings.redis_port)
    )
    rule: dict[str, Any] = {"ports": _ports([int(item) for item in str(port).split(",")])}
    blocks = [_block(item) for item in (host or "").split(",")]
    if all(blocks):
        rule["to"] = blocks
    return rule


def _block(host: str) -> dict[str, Any] | None:
    try:
        address = ip_address(host)
    except ValueError:
        return None
    return {"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}}


def _from(sources: Sequence[str], ports: Sequence[int]) -> dict[str, Any]:
    return {"from": [_pods(sources)], "ports": _ports(ports)}


def _pods(units: Sequence[str]) -> dict[str, Any]:
    names = sorted(set(units))
    expression = {"key": COMPONENT, "operator": "In", "values": names}
    return {"podSelector": {"matchExpressions": [expression]}}


def _ports(ports: Sequence[int]) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": port} for port in ports]


def _policy(
    name: str,
    pods: dict[str, str],
    *,
    ingress: list[dict[str, Any]] | None = None,
    egress: list[dict[str, Any]] | None = None,
) -> Object:
    rules = {"ingress": ingress, "egress": egress}
    given = {kind: found for kind, found in rules.items() if found is not None}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(name),
        "spec": {
            "podSelector": {"matchLabels": pods} if pods else {},
            "policyTypes": [kind.capitalize() for kind in given],
            **{kind: found for kind, found in given.items() if found},
        },
    }
