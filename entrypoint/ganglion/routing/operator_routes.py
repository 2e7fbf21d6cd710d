"""The operator's own routes and pins: routes.yaml.

routes:
  - name: search_on_main         # a row of the table, moved
    moves: client_reads
    roles: [main]
  - name: my_module              # a row of its own, before the table's
    methods: [GET]
    path: /_synapse/client/my_module(/|$)
    roles: [client_reader]
    key: user
pins:
  - user: "@alice:example.org"
    worker: synchrotron2
  - room: "!abc:example.org"
    worker: event_creator1
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from unpaddedbase64 import encode_base64

from ganglion.errors import ConfigError, Problem
from ganglion.routing.table import ROUTES, Key, Pin, Route
from ganglion.settings.variables import Settings
from ganglion.topology.names import MAIN
from ganglion.topology.roles import BY_NAME
from ganglion.topology.topology import Topology

METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
# The part of regular expressions that Python and PCRE read alike, without flags or look-around.
PATH = re.compile(
    r"/(?:[A-Za-z0-9/_~!$%&'*+,;=:@|.?\[\]^{}-]|\(\?:|\((?!\?)|\)|\\[.dw+*?()\[\]|/$-])*"
)
ROUTE_FIELDS = {"name", "moves", "methods", "path", "roles", "key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRoutes:
    """The table of routes with the operator's rows in it, and the pins."""

    routes: tuple[Route, ...] = ROUTES
    pins: tuple[Pin, ...] = ()


class _Refused(ValueError):
    """One entry that cannot be: the message and the fix."""


def load(settings: Settings, topology: Topology | None) -> OperatorRoutes:
    """Read the file that GANGLION_ROUTES names, or else the data directory's routes.yaml, if any.

    Without a topology, whose problems are told elsewhere, pins are not looked at.

    Raises ConfigError with every problem in the file.
    """
    default = Path(settings.paths.routes_yaml)
    if settings.routes_file is None and not default.is_file():
        return OperatorRoutes()
    chosen = Path(settings.routes_file) if settings.routes_file else default
    try:
        found = yaml.safe_load(chosen.read_text(encoding="utf-8"))
    # ValueError: text that is not UTF-8, or a value such as the date 2026-13-01.
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            [_problem(chosen, None, f"cannot be read: {error}", "correct the file")]
        ) from error
    return interpret(found, str(chosen), topology)


def interpret(found: Any, where: str, topology: Topology | None) -> OperatorRoutes:  # noqa: ANN401 - any YAML
    """What a file's content means. Raises ConfigError with every problem in it."""
    if found is None:
        return OperatorRoutes()
    if not isinstance(found, dict) or not found.keys() <= {"routes", "pins"}:
        hint = "write the lists routes: and pins:, see docs/routing.md"
        raise ConfigError([_problem(where, None, "has something else in it than its lists", hint)])
    problems: list[Problem] = []
    table = list(ROUTES)
    added: list[Route] = []
    for entry in _entries(found, "routes", where, problems):
        try:
            _place(_checked(entry), table, added)
        except _Refused as refused:
            problems.append(_problem(where, entry, *refused.args))
    pins: list[Pin] = []
    for entry in _entries(found, "pins", where, problems):
        if topology is None:
            continue
        try:
            pins.append(_pin(entry, topology, (*added, *table)))
        except _Refused as refused:
            problems.append(_problem(where, entry, *refused.args))
    if problems:
        raise ConfigError(problems)
    return OperatorRoutes(routes=(*added, *table), pins=tuple(pins))


def _problem(where: object, entry: object, message: str, hint: str) -> Problem:
    """A problem with an entry, which is named by the first of its own fields that names it."""
    if isinstance(entry, dict):
        entry = next((entry[key] for key in ("name", "user", "room") if key in entry), None)
    value = None if entry is None else str(entry)
    return Problem(variable=str(where), value=value, message=message, hint=hint)


def _entries(
    found: dict[str, Any], key: str, where: str, problems: list[Problem]
) -> Iterator[dict[str, Any]]:
    entries = found.get(key) or []
    for entry in entries if isinstance(entries, list) else [entries]:
        if isinstance(entry, dict):
            yield entry
        else:
            hint = "see docs/routing.md for the form of one"
            problems.append(_problem(where, entry, f"is no entry of {key}", hint))


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry of `routes` whose fields are each right by themselves."""
    unknown = entry.keys() - ROUTE_FIELDS
    if unknown:
        raise _Refused(
            f"has the unknown field {', '.join(sorted(map(str, unknown)))}",
            f"the fields are {', '.join(sorted(ROUTE_FIELDS))}",
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", str(entry.get("name", ""))):
        raise _Refused("has no name of its own", "name it with small letters, digits and _")
    roles = entry.get("roles")
    known = [*(name for name, role in BY_NAME.items() if role.resources), MAIN]
    if not isinstance(roles, list) or not roles or not {*map(str, roles)} <= {*known}:
        raise _Refused("lacks roles that serve requests", f"list some of {', '.join(known)}")
    methods = entry.get("methods", [])
    if not isinstance(methods, list) or not {*map(str, methods)} <= {*METHODS}:
        raise _Refused("has methods that are none", f"list some of {', '.join(METHODS)}")
    keys = [key.value for key in Key]
    if entry.get("key", "none") not in keys:
        raise _Refused("has a key that is none", f"write one of {', '.join(keys)}")
    if ("path" in entry) == ("moves" in entry):
        raise _Refused("needs either path or moves", "give the path of a new row, or a row to move")
    return entry


def _place(entry: dict[str, Any], table: list[Route], added: list[Route]) -> None:
    """Put an entry into the table: move a row, or add one before all of Ganglion's own."""
    roles = tuple(map(str, entry["roles"]))
    if "moves" in entry:
        index = next((i for i, route in enumerate(table) if route.name == entry["moves"]), None)
        if index is None:
            names = ", ".join(route.name for route in table)
            raise _Refused("moves a row that there is not", f"the rows are {names}")
        if table[index].writers_only:
            raise _Refused(
                "moves a row that only the writers of its stream can serve",
                "leave it, and move the stream with WORKERS instead",
            )
        key = Key(entry["key"]) if "key" in entry else table[index].key
        moved = replace(table[index], roles=roles, key=key)
        _check_resources(moved)
        table[index] = moved
        return
    if entry["name"] in {route.name for route in (*table, *added)} | {MAIN}:
        raise _Refused("has the name of another row", "give it a name of its own")
    path = str(entry["path"])
    try:
        re.compile(path)
    except re.error as error:
        raise _Refused(
            f"has a path that is no regular expression: {error}", "correct it"
        ) from error
    if not PATH.fullmatch(path):
        raise _Refused(
            "has a path that nginx could read differently",
            "start it with / and use plain characters, . * + ? | ( ) [ ] { } and $",
        )
    route = Route(
        name=str(entry["name"]),
        path=path,
        roles=roles,
        methods=tuple(map(str, entry.get("methods", []))),
        key=Key(entry.get("key", "none")),
    )
    _check_resources(route)
    added.append(route)


def _check_resources(route: Route) -> None:
    """See that the roles listen for what the path is of."""
    federation = route.path.startswith(("/_matrix/federation", "/_matrix/key", "(/_matrix/fed"))
    resource = "federation" if federation else "client"
    for role in route.roles:
        if role != MAIN and resource not in BY_NAME[role].resources:
            raise _Refused(
                f"sends requests of the {resource} API to {role}, which does not serve it",
                "choose a role whose workers do, or main",
            )


def _pin(entry: dict[str, Any], topology: Topology, routes: tuple[Route, ...]) -> Pin:
    kinds = entry.keys() & {"user", "room"}
    if entry.keys() != kinds | {"worker"} or len(kinds) != 1:
        raise _Refused("is no pin", "write user: or room:, and worker:")
    worker = next((item for item in topology.workers if item.name == entry["worker"]), None)
    if worker is None:
        names = ", ".join(item.name for item in topology.workers) or "none"
        raise _Refused("pins to a worker that there is not", f"the workers are {names}")
    key = Key.USER if "user" in entry else Key.ROOM
    if not any(route.key is key and set(route.roles) & set(worker.roles) for route in routes):
        raise _Refused(
            f"pins to a worker that serves nothing by {key.value}",
            "choose a worker of a role such as synchrotron, event_creator or room_reader",
        )
    identifier = str(entry[key.value])
    if key is Key.ROOM:
        if not re.fullmatch(r"![^/\s\x00-\x1f\"\\]{1,254}", identifier):
            raise _Refused("has no room ID", "write one such as !abc:example.org")
        return Pin(key=key, values=(identifier,), worker=worker.name)
    found = re.fullmatch(r"@([a-z0-9._=/+-]{1,254}):[A-Za-z0-9.:\[\]-]+", identifier)
    if found is None:
        raise _Refused("has no user ID", "write one such as @alice:example.org")
    # As in a token of Synapse's own, and as an application service names the user.
    return Pin(key=key, values=(encode_base64(found[1].encode()), found[1]), worker=worker.name)
