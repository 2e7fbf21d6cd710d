"""The table of routes in the syntax of other proxies, for people who run one of these.

nginx gets the same maps as ours. The others get the rows in the table's order, the pools, and the
nearest thing to each key that the proxy has. Restricting /_synapse/admin is left to them.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from ganglion.routing.nginx_maps import Map, maps
from ganglion.routing.proxies import ROOM, Backend, Row, backends, rows
from ganglion.routing.table import Choice, Key
from ganglion.topology.names import MAIN
from ganglion.topology.topology import Topology

COMMENT = "Made by `ganglion routes`; make it again when WORKERS changes. Restrict /_synapse/admin."
# Variables of nginx that say which fallback there is; only our own configuration uses these.
NOT_NEEDED = ("$ganglion_fallback", "$ganglion_last", "$ganglion_upload", "$ganglion_gate")


def nginx(choices: Sequence[Choice], topology: Topology) -> str:
    """Maps and upstreams for the context http. A site needs proxy_pass http://$ganglion_target."""
    lines = [f"# {COMMENT}", "# In a server block: proxy_pass http://$ganglion_target;"]
    for table in maps(choices, ()):
        if table.variable not in NOT_NEEDED:
            lines.extend(_map(table))
    for backend in backends(choices, topology):
        lines.append(f"upstream {backend.name} {{")
        if backend.key is not Key.NONE:
            lines.append("    hash $ganglion_key consistent;")
        lines.extend(f"    server {address};" for _, address in backend.members)
        lines.append("}")
    return "\n".join(lines)


def _map(table: Map) -> Iterator[str]:
    yield f"map {_nginx(table.source)} {table.variable} {{"
    yield f"    default {_nginx(table.default)};"
    yield from (f"    {_nginx(word)} {_nginx(result)};" for word, result in table.rows)
    yield "}"


def _nginx(text: str) -> str:
    """Quote a word. Backslashes of expressions stay: nginx undoes only those before quotes."""
    return '"' + text.replace('"', '\\"') + '"'


def caddy(choices: Sequence[Choice], topology: Topology) -> str:
    """Directives for a site of a Caddyfile."""
    pools = {backend.name: backend for backend in backends(choices, topology)}
    lines = [f"# {COMMENT}", "route {"]
    for row in rows(choices):
        lines.extend(_caddy_matcher(row))
        lines.append(f"\thandle @{row.name} {{")
        lines.extend(f"\t\t{line}" for line in _caddy_proxy(pools[row.pool]))
        lines.append("\t}")
    lines.append("\thandle {")
    lines.extend(f"\t\t{line}" for line in _caddy_proxy(pools[MAIN]))
    lines.extend(("\t}", "}"))
    return "\n".join(lines)


def _caddy_matcher(row: Row) -> Iterator[str]:
    yield f"\t@{row.name} {{"
    if row.methods:
        yield f"\t\tmethod {' '.join(row.methods)}"
    if row.full_state:
        yield "\t\tquery full_state=true"
    if row.without_since:
        yield f"\t\tnot vars_regexp {{http.request.uri.query}} {_caddy('(^|&)since=[^&]')}"
    # The raw path with its query: Caddy's own path is decoded. `$` stands for the end of the path.
    pattern = row.pattern.replace("$", r"(\?|$)")
    yield f"\t\tvars_regexp {{http.request.uri}} {_caddy(pattern)}"
    yield "\t}"


def _caddy(text: str) -> str:
    return f"`{text}`"


def _caddy_proxy(backend: Backend) -> Iterator[str]:
    servers = " ".join(_caddy_address(address) for _, address in backend.members)
    if backend.key is Key.NONE:
        yield f"reverse_proxy {servers}"
        return
    if backend.key is Key.ROOM:
        room = "|".join(pattern.removeprefix("^").replace("([^", "(?:[^") for pattern in ROOM)
        yield f"@room vars_regexp room {{http.request.uri}} {_caddy(f'^({room})')}"
        yield "request_header @room X-Ganglion-Key {http.regexp.room.1}"
    yield f"reverse_proxy {servers} {{"
    policy = {
        Key.USER: "header Authorization",
        Key.ROOM: "header X-Ganglion-Key",
        Key.ORIGIN: "ip_hash",
    }[backend.key]
    yield f"\tlb_policy {policy}"
    if backend.key is Key.ROOM:
        yield "\theader_up -X-Ganglion-Key"
    yield "}"


def _caddy_address(address: str) -> str:
    return f"unix/{address.removeprefix('unix:')}" if address.startswith("unix:") else address


def haproxy(choices: Sequence[Choice], topology: Topology) -> str:
    """A frontend's rules and the backends. The frontend's `bind` is left to the operator."""
    lines = [f"# {COMMENT}", "frontend ganglion", "    mode http", "    # bind :8008"]
    for row in rows(choices):
        words = [f"use_backend {row.pool} if"]
        if row.methods:
            words.append(f"{{ method {' '.join(row.methods)} }}")
        words.append(f"{{ path -m reg {_haproxy(row.pattern)} }}")
        if row.full_state:
            words.append("{ url_param(full_state) true }")
        if row.without_since:
            words.append("!{ url_param(since) -m reg . }")
        lines.append(f"    {' '.join(words)}")
    lines.append(f"    default_backend {MAIN}")
    for backend in backends(choices, topology):
        lines.extend((f"backend {backend.name}", "    mode http"))
        lines.extend(f"    {line}" for line in _haproxy_balance(backend.key))
        lines.extend(
            f"    server {name} {_haproxy_address(address)}" for name, address in backend.members
        )
    return "\n".join(lines)


def _haproxy(text: str) -> str:
    """Quote a word: between single quotes, nothing is special."""
    return f"'{text}'"


def _haproxy_balance(key: Key) -> Iterator[str]:
    if key is Key.USER:
        yield "balance hdr(Authorization)"
    elif key is Key.ORIGIN:
        yield "balance source"
    elif key is Key.ROOM:
        # The parts of the path up to the room: the same for all spellings but one of a room.
        yield "balance uri depth 6 path-only"
    if key is not Key.NONE:
        yield "hash-type consistent"


def _haproxy_address(address: str) -> str:
    return f"unix@{address.removeprefix('unix:')}" if address.startswith("unix:") else address


def traefik(choices: Sequence[Choice], topology: Topology) -> str:
    """A file of dynamic configuration, in JSON, which is YAML. Traefik takes no Unix sockets."""
    found = rows(choices)
    routers: dict[str, Any] = {}
    for place, row in enumerate(found):
        methods = " || ".join(f"Method(`{method}`)" for method in row.methods)
        rule = f"PathRegexp(`{row.pattern}`)"
        if row.full_state:
            rule += " && Query(`full_state`, `true`)"
        if row.without_since:
            rule += " && !QueryRegexp(`since`, `.`)"
        routers[row.name] = {
            "rule": f"({methods}) && {rule}" if methods else rule,
            "service": row.pool,
            # The highest is first.
            "priority": 2 + len(found) - place,
        }
    routers[MAIN] = {"rule": "PathPrefix(`/`)", "service": MAIN, "priority": 1}
    services = {
        backend.name: {
            "loadBalancer": {"servers": [{"url": f"http://{url}"} for _, url in backend.members]}
        }
        for backend in backends(choices, topology)
    }
    return json.dumps({"http": {"routers": routers, "services": services}}, indent=2)


def envoy(choices: Sequence[Choice], topology: Topology) -> str:
    """A route configuration and the clusters, in JSON."""
    routes: list[dict[str, Any]] = []
    for row in rows(choices):
        path = row.path
        # Envoy matches the whole path, without its query.
        whole = path.removesuffix("$") if path.endswith("$") else f"{path}.*"
        match: dict[str, Any] = {"safe_regex": {"regex": whole.replace("(/|$)", "(/.*)?")}}
        if row.methods:
            expression = {"regex": "|".join(row.methods)}
            match["headers"] = [{"name": ":method", "string_match": {"safe_regex": expression}}]
        if row.full_state:
            wanted = {"name": "full_state", "string_match": {"exact": "true"}}
            match["query_parameters"] = [wanted]
        if row.without_since:
            match["query_parameters"] = [{"name": "since", "present_match": False}]
        routes.append({"name": row.name, "match": match, "route": {"cluster": row.pool}})
    routes.append({"name": MAIN, "match": {"prefix": "/"}, "route": {"cluster": MAIN}})
    clusters = [_envoy_cluster(backend) for backend in backends(choices, topology)]
    virtual = [{"name": "ganglion", "domains": ["*"], "routes": routes}]
    return json.dumps(
        {"route_config": {"name": "ganglion", "virtual_hosts": virtual}, "clusters": clusters},
        indent=2,
    )


def _envoy_cluster(backend: Backend) -> dict[str, Any]:
    endpoints = []
    for _, address in backend.members:
        host, _, port = address.rpartition(":")
        place: dict[str, Any] = {"socket_address": {"address": host, "port_value": port}}
        if address.startswith("unix:"):
            place = {"pipe": {"path": address.removeprefix("unix:")}}
        else:
            place["socket_address"]["port_value"] = int(port)
        endpoints.append({"endpoint": {"address": place}})
    return {
        "name": backend.name,
        "type": "STATIC",
        "lb_policy": "ROUND_ROBIN" if backend.key is Key.NONE else "RING_HASH",
        "load_assignment": {
            "cluster_name": backend.name,
            "endpoints": [{"lb_endpoints": endpoints}],
        },
    }


FORMATS = {
    "nginx": nginx,
    "caddy": caddy,
    "haproxy": haproxy,
    "traefik": traefik,
    "envoy": envoy,
}
