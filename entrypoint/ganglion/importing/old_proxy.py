"""Compare the old nginx with the table of routes, request by request."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from ganglion.errors import ConfigError, Problem
from ganglion.importing.findings import OldServer
from ganglion.importing.nginx_file import Directive, read
from ganglion.importing.nginx_request import Answer, destination
from ganglion.routing.nginx_maps import Map, Request, evaluate, maps
from ganglion.routing.table import Choice, table
from ganglion.topology.names import MAIN
from ganglion.topology.topology import Topology

# Requests for each servlet of Synapse in each spelling of its path, made by
# tests/oracle/samples.py.
REQUESTS = Path(__file__).with_name("requests.txt")
PROBE = "/_matrix/client/versions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One request: the old destination, the pool in Ganglion, and the difference."""

    method: str
    path: str
    before: str
    after: str
    rule: str
    change: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """All requests at one server block of the old proxy."""

    site: str
    rows: tuple[Compared, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Theirs:
    """The old proxy's upstreams, and the old processes by the port or path of their listeners."""

    upstreams: Mapping[str, tuple[str, ...]]
    addresses: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ours:
    """Our table, and the new names of the old processes."""

    choices: tuple[Choice, ...]
    tables: tuple[Map, ...]
    names: Mapping[str, str]


def requests() -> tuple[tuple[str, str], ...]:
    """Return the method and the path of each request that is compared."""
    lines = REQUESTS.read_text(encoding="utf-8").splitlines()
    return tuple((method, path) for method, _, path in (line.partition(" ") for line in lines))


def compare(
    file: Path, old: OldServer, names: Mapping[str, str], topology: Topology
) -> tuple[tuple[Comparison, ...], list[str]]:
    """Ask both tables for every request. Returns a comparison for each server block, and remarks.

    `names` maps the old workers to their new names. Raises ConfigError for a file that cannot be
    evaluated, or that has no server block for Synapse.
    """
    root, notes = read(file)
    blocks = [block for block in _servers(root) if _is_synapse(root, block)]
    if not blocks:
        raise ConfigError(
            [
                Problem(
                    variable=str(file),
                    value=None,
                    message=f"no server block in it passes {PROBE} to another server",
                    hint="name the file of the site of Synapse",
                )
            ]
        )
    theirs = _Theirs(upstreams=dict(_upstreams(root)), addresses=dict(_addresses(old)))
    ours = _Ours(choices=table(topology), tables=maps(table(topology), ()), names=names)
    found: dict[tuple[Compared, ...], str] = {}
    for block in blocks:
        rows = tuple(
            _compared(method, path, destination(root, block, method, path), theirs, ours)
            for method, path in requests()
        )
        site = _site(block)
        found[rows] = f"{found[rows]} and {site}" if rows in found else site
    return tuple(Comparison(site=site, rows=rows) for rows, site in found.items()), notes


def _servers(block: Directive) -> Iterator[Directive]:
    for item in block.block:
        if item.name == "server":
            yield item
        elif item.name == "http":
            yield from _servers(item)


def _is_synapse(root: Directive, block: Directive) -> bool:
    return not destination(root, block, "GET", PROBE).own


def _site(block: Directive) -> str:
    names = [word for item in block.all("server_name") for word in item.words]
    ports = [item.words[0] for item in block.all("listen") if item.words]
    return f"{' '.join(names) or 'a server without a name'} ({', '.join(ports) or '80'})"


def _upstreams(block: Directive) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each upstream with the addresses of its servers."""
    for item in block.block:
        if item.name == "upstream" and item.words:
            yield item.words[0], tuple(part.words[0] for part in item.all("server") if part.words)
        elif item.name == "http":
            yield from _upstreams(item)


def _addresses(old: OldServer) -> Iterator[tuple[str, str]]:
    """Yield the port, or the path of the socket, of each listener, with the name of its process."""
    sources: list[tuple[str, Any]] = [(MAIN, old.options.get("listeners"))]
    sources += [
        (str(file.options.get("worker_name", "")), file.options.get("worker_listeners"))
        for file in old.workers
    ]
    for name, listeners in sources:
        for listener in listeners if isinstance(listeners, list) else ():
            if isinstance(listener, Mapping):
                for key in ("port", "path"):
                    if listener.get(key):
                        yield str(listener[key]), name


def _compared(method: str, path: str, answer: Answer, theirs: _Theirs, ours: _Ours) -> Compared:
    values = evaluate(ours.tables, Request(method=method, uri=path))
    rule = values["$ganglion_rule"]
    choice = next(item for item in ours.choices if item.route.name == rule)
    after, gate = choice.pool.name, values["$ganglion_gate"]
    if answer.own:
        old = {answer.to}
        change = "answered by Synapse now"
    else:
        old = set(_processes(answer.to, theirs))
        new = {ours.names.get(name, name) for name in old}
        members = {member.name for member in choice.pool.members}
        change = "same" if new <= members else "moves"
        if change == "moves" and new == {MAIN}:
            change = "leaves main"
        elif change == "moves" and members == {MAIN}:
            change = "goes to main"
    if gate == "admin":
        after += ", for GANGLION_ADMIN_NETWORKS alone"
        change = "open to some now" if answer.own else "open to fewer clients"
    elif gate in ("closed", "malformed"):
        after, change = "nobody: nginx refuses it", "refused now"
    if answer.own and gate in ("closed", "malformed"):
        change = "same"
    return Compared(
        method=method,
        path=path,
        before=", ".join(sorted(old)),
        after=after,
        rule=rule,
        change=change,
    )


def _processes(target: str, theirs: _Theirs) -> Iterator[str]:
    """Yield the old processes behind a proxy_pass; the address itself if none listens there."""
    text = re.sub(r"^\w+://", "", target)
    if text.startswith("unix:"):
        place = text.removeprefix("unix:").partition(":")[0]
        yield theirs.addresses.get(place, f"unix:{place}")
        return
    name = text.partition("/")[0]
    for server in theirs.upstreams.get(name, (name,)):
        port = server.removeprefix("unix:") if "/" in server else server.rpartition(":")[2]
        yield theirs.addresses.get(port, server)


def as_text(comparisons: tuple[Comparison, ...]) -> str:
    """Format the groups of requests with the same change, with an example of each."""
    lines: list[str] = []
    for comparison in comparisons:
        lines.append(f"REQUESTS AT {comparison.site}")
        rows = sorted(comparison.rows, key=_group)
        for (change, before, after, rule), items in groupby(rows, key=_group):
            group = list(items)
            example = f"{group[0].method} {group[0].path}"
            lines.append(f"  {change}: {before} -> {after} ({rule}), {len(group)}: {example}")
        same = sum(row.change == "same" for row in rows)
        lines.append(f"  {same} of {len(rows)} requests stay where they were")
    return "\n".join(lines)


def _group(row: Compared) -> tuple[str, str, str, str]:
    return (row.change, row.before, row.after, row.rule)


def as_json(comparisons: tuple[Comparison, ...]) -> list[dict[str, Any]]:
    """Return every request as values for JSON."""
    return [
        {
            "site": comparison.site,
            "requests": [
                {
                    "method": row.method,
                    "path": row.path,
                    "before": row.before,
                    "after": row.after,
                    "rule": row.rule,
                    "change": row.change,
                }
                for row in comparison.rows
            ],
        }
        for comparison in comparisons
    ]
