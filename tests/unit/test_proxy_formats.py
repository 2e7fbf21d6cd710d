"""The table of routes for Traefik and Envoy, evaluated here: no Debian package has them."""

import json
import re
from typing import Any
from urllib.parse import parse_qs

import pytest

from ganglion.cli.main import main
from ganglion.routing.explain import explain
from ganglion.routing.operator_routes import OperatorRoutes
from ganglion.routing.proxy_formats import FORMATS
from ganglion.routing.table import table
from ganglion.settings import environment
from ganglion.topology import topology
from ganglion.topology.topology import Topology
from tests.oracle.samples import load

LAYOUTS = ("none", "small", "large", "full, synchrotron:3")
SYNC = "/_matrix/client/v3/sync"
EXTRA = (
    ("GET", SYNC),
    ("GET", f"{SYNC}?since=s1"),
    ("GET", f"{SYNC}?since=s1&full_state=true"),
    ("HEAD", f"{SYNC}?since=s1"),
    ("GET", "/"),
)


def layout(workers: str) -> Topology:
    return topology.build(environment.from_environ({"WORKERS": workers}, str))


def requests() -> list[tuple[str, str]]:
    return [*(request for row in load() for request in row.requests), *EXTRA]


def wrong(found: Topology, pick: Any) -> list[str]:
    """The requests that another pool than ours gets."""
    different = []
    for method, uri in requests():
        path, _, query = uri.partition("?")
        expected = explain(method, uri, {}, "127.0.0.1", found, OperatorRoutes()).pool
        pool = pick(method, path, {name: texts[0] for name, texts in parse_qs(query).items()})
        # The name of a pool has the key behind a dot.
        if pool.partition(".")[0] != expected:
            different.append(f"{method} {uri}: {pool} instead of {expected}")
    return different


@pytest.mark.parametrize("workers", LAYOUTS)
def test_envoy(workers: str) -> None:
    found = layout(workers)
    text = json.loads(FORMATS["envoy"](table(found), found))
    (host,) = text["route_config"]["virtual_hosts"]
    clusters = {item["name"] for item in text["clusters"]}
    assert {item["route"]["cluster"] for item in host["routes"]} <= clusters

    def fits(match: dict[str, Any], method: str, path: str, query: dict[str, str]) -> bool:
        if "prefix" in match:
            return path.startswith(match["prefix"])
        for header in match.get("headers", ()):
            if not re.fullmatch(header["string_match"]["safe_regex"]["regex"], method):
                return False
        for item in match.get("query_parameters", ()):
            if "present_match" in item and (item["name"] in query) is not item["present_match"]:
                return False
            if "string_match" in item and query.get(item["name"]) != item["string_match"]["exact"]:
                return False
        return bool(re.fullmatch(match["safe_regex"]["regex"], path))

    def pick(method: str, path: str, query: dict[str, str]) -> str:
        first = next(r for r in host["routes"] if fits(r["match"], method, path, query))
        return str(first["route"]["cluster"])

    assert wrong(found, pick) == []


@pytest.mark.parametrize("workers", LAYOUTS)
def test_traefik(workers: str) -> None:
    found = layout(workers)
    text = json.loads(FORMATS["traefik"](table(found), found))["http"]
    assert {item["service"] for item in text["routers"].values()} <= text["services"].keys()
    ordered = sorted(text["routers"].values(), key=lambda item: -item["priority"])
    priorities = [item["priority"] for item in ordered]
    assert len(set(priorities)) == len(priorities)

    def fits(rule: str, method: str, path: str, query: dict[str, str]) -> bool:
        methods = re.findall(r"Method\(`(\w+)`\)", rule)
        expression = re.search(r"PathRegexp\(`(.*?)`\)", rule)
        if "!QueryRegexp(`since`, `.`)" in rule and query.get("since"):
            return False
        if "&& Query(`full_state`, `true`)" in rule and query.get("full_state") != "true":
            return False
        if methods and method not in methods:
            return False
        # The last one is PathPrefix(`/`).
        return expression is None or bool(re.search(expression[1], path))

    def pick(method: str, path: str, query: dict[str, str]) -> str:
        first = next(item for item in ordered if fits(item["rule"], method, path, query))
        return str(first["service"])

    assert wrong(found, pick) == []


@pytest.mark.parametrize("name", [*FORMATS, "json"])
def test_every_format_is_printed(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    environ = {"WORKERS": "medium", "SYNAPSE_USE_UNIX_SOCKET": "no"}
    assert main(["routes", "--format", name], environ) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "event_creator" in out or "create_room" in out
    if name in ("json", "traefik", "envoy"):
        json.loads(out)


def test_traefik_takes_no_unix_sockets(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "--format", "traefik"], {"WORKERS": "medium"}) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "set SYNAPSE_USE_UNIX_SOCKET=no" in err


def test_json_is_the_same_as_the_option(capsys: pytest.CaptureFixture[str]) -> None:
    main(["routes", "--format", "json"], {"WORKERS": "medium"})
    first = capsys.readouterr().out
    main(["routes", "--json"], {"WORKERS": "medium"})
    assert capsys.readouterr().out == first
