"""Read the operator's own routes and pins from routes.yaml:

routes:
  - name: search_on_main         # a row of the table, moved to other roles
    moves: client_reads
    roles: [main]
  - name: my_module              # a new row, before those of the table
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

import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from unpaddedbase64 import encode_base64

from ganglion.errors import ConfigError, Problem, reason
from ganglion.routing.table import ROUTES, Key, Pin, Route
from ganglion.settings import bounded_yaml
from ganglion.settings.reading import LARGEST_YAML, read_text
from ganglion.settings.variables import Settings
from ganglion.topology.names import MAIN
from ganglion.topology.roles import BY_NAME
from ganglion.topology.topology import Topology

METHODS = ("DELETE", "GET", "PATCH", "POST", "PUT")
# Regular expressions that mean the same in Python and PCRE, without flags and look-around.
PATH = re.compile(
    r"/(?:[A-Za-z0-9/_~!$%&'*+,;=:@|.?\[\]^{}-]|\(\?:|\((?!\?)|\)|\\[.dw+*?()\[\]|/$-])*"
)
ROUTE_FIELDS = {"name", "moves", "methods", "path", "roles", "key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorRoutes:
    """The table of routes including the operator's rows, and the pins."""

    routes: tuple[Route, ...] = ROUTES
    pins: tuple[Pin, ...] = ()


class _Invalid(ValueError):
    """An entry is invalid. The arguments are the message and the hint."""


def load(settings: Settings, topology: Topology | None) -> OperatorRoutes:
    """Read the file that GANGLION_ROUTES names, or routes.yaml in the data directory, if any.

    Pins are not checked without a topology; its problems are reported elsewhere. A container
    without nginx reads none: it may not know all the workers that they name.

    Raises ConfigError with every problem in the file.
    """
    if not settings.runs_nginx:
        return OperatorRoutes()
    default = Path(settings.paths.routes_yaml)
    if settings.routes_file is None and not os.path.lexists(default):
        return OperatorRoutes()
    chosen = Path(settings.routes_file) if settings.routes_file else default
    try:
        found = bounded_yaml.load(read_text(chosen, LARGEST_YAML))
    # ValueError: the file is not UTF-8.
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(
            [_problem(chosen, None, f"cannot be read: {reason(error)}", "correct the file")]
        ) from error
    return interpret(found, str(chosen), topology)


def interpret(found: Any, where: str, topology: Topology | None) -> OperatorRoutes:  # noqa: ANN401 - any YAML
    """Interpret the content of a file. Raises ConfigError with every problem in it."""
    if found is None:
        return OperatorRoutes()
    if not isinstance(found, dict) or not found.keys() <= {"routes", "pins"}:
        hint = "see docs/routing.md for the format"
        raise ConfigError(
            [_problem(where, None, "may contain only the lists routes and pins", hint)]
        )
    problems: list[Problem] = []
    table = list(ROUTES)
    added: list[Route] = []
    for entry in _entries(found, "routes", where, problems):
        try:
            _place(_checked(entry), table, added)
        except _Invalid as invalid:
            problems.append(_problem(where, entry, *invalid.args))
    pins: list[Pin] = []
    for entry in _entries(found, "pins", where, problems):
        if topology is None:
            continue
        try:
            pins.append(_pin(entry, topology, (*added, *table)))
        except _Invalid as invalid:
            problems.append(_problem(where, entry, *invalid.args))
    if problems:
        raise ConfigError(problems)
    return OperatorRoutes(routes=(*added, *table), pins=tuple(pins))


def _problem(where: object, entry: object, message: str, hint: str) -> Problem:
    """Make a problem of an entry, which is shown by its name, user or room."""
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
            hint = "see docs/routing.md for the format"
            problems.append(_problem(where, entry, f"is not an entry of {key}", hint))


def _checked(entry: dict[str, Any]) -> dict[str, Any]:
    """Check each field of an entry of `routes`."""
    unknown = entry.keys() - ROUTE_FIELDS
    if unknown:
        raise _Invalid(
            f"unknown field {', '.join(sorted(map(str, unknown)))}",
            f"the fields are {', '.join(sorted(ROUTE_FIELDS))}",
        )
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", str(entry.get("name", ""))):
        raise _Invalid("has no valid name", "use lowercase letters, digits and _")
    roles = entry.get("roles")
    known = [*(name for name, role in BY_NAME.items() if role.resources), MAIN]
    if not isinstance(roles, list) or not roles or not {*map(str, roles)} <= {*known}:
        raise _Invalid(
            "has no list of roles that serve requests", f"list some of {', '.join(known)}"
        )
    methods = entry.get("methods", [])
    if not isinstance(methods, list) or not {*map(str, methods)} <= {*METHODS}:
        raise _Invalid("has an unknown method", f"list some of {', '.join(METHODS)}")
    keys = [key.value for key in Key]
    if entry.get("key", "none") not in keys:
        raise _Invalid("has an unknown key", f"write one of {', '.join(keys)}")
    if ("path" in entry) == ("moves" in entry):
        raise _Invalid(
            "needs either path or moves", "write path for a new row, or moves for one of the table"
        )
    return entry


def _place(entry: dict[str, Any], table: list[Route], added: list[Route]) -> None:
    """Apply an entry to the table: move a row, or add one before Ganglion's own rows."""
    roles = tuple(map(str, entry["roles"]))
    if "moves" in entry:
        index = next((i for i, route in enumerate(table) if route.name == entry["moves"]), None)
        if index is None:
            names = ", ".join(route.name for route in table)
            raise _Invalid("moves an unknown row", f"the rows are {names}")
        if table[index].writers_only:
            raise _Invalid(
                "moves a row that only the writers of its stream can serve",
                "remove the entry, and move the stream with WORKERS instead",
            )
        key = Key(entry["key"]) if "key" in entry else table[index].key
        moved = replace(table[index], roles=roles, key=key)
        _check_resources(moved)
        table[index] = moved
        return
    if entry["name"] in {route.name for route in (*table, *added)} | {MAIN}:
        raise _Invalid("has the name of another row", "choose another name")
    path = str(entry["path"])
    ambiguous = _Invalid(
        "has a path that nginx could interpret differently",
        "start with / and use only plain characters and . * + ? | ( ) [ ] { } $",
    )
    try:
        with warnings.catch_warnings():
            # Python warns of sets such as [[a] and [a||b], which it may read otherwise one day.
            warnings.simplefilter("error", FutureWarning)
            re.compile(path)
    except FutureWarning:
        raise ambiguous from None
    except re.error as error:
        raise _Invalid(
            f"has a path that is not a regular expression: {error}", "correct the path"
        ) from error
    if not PATH.fullmatch(path):
        raise ambiguous
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
    """Check that workers with these roles serve the API of the path."""
    federation = route.path.startswith(("/_matrix/federation", "/_matrix/key", "(/_matrix/fed"))
    resource = "federation" if federation else "client"
    for role in route.roles:
        if role != MAIN and resource not in BY_NAME[role].resources:
            raise _Invalid(
                f"sends {resource} API requests to {role}, which does not serve that API",
                "choose a role that serves it, or main",
            )


def _pin(entry: dict[str, Any], topology: Topology, routes: tuple[Route, ...]) -> Pin:
    kinds = entry.keys() & {"user", "room"}
    if entry.keys() != kinds | {"worker"} or len(kinds) != 1:
        raise _Invalid("is not a pin", "write user: or room:, and worker:")
    worker = next((item for item in topology.workers if item.name == entry["worker"]), None)
    if worker is None:
        names = ", ".join(item.name for item in topology.workers) or "none"
        raise _Invalid("pins to an unknown worker", f"the workers are {names}")
    key = Key.USER if "user" in entry else Key.ROOM
    if not any(route.key is key and set(route.roles) & set(worker.roles) for route in routes):
        raise _Invalid(
            f"pins to a worker that serves no requests by {key.value}",
            "choose a worker with a role such as synchrotron, event_creator or room_reader",
        )
    identifier = str(entry[key.value])
    if key is Key.ROOM:
        if not re.fullmatch(r"![^/\s\x00-\x1f\"\\]{1,254}", identifier):
            raise _Invalid("is not a room ID", "write one such as !abc:example.org")
        return Pin(key=key, values=(identifier,), worker=worker.name)
    found = re.fullmatch(r"@([a-z0-9._=/+-]{1,254}):[A-Za-z0-9.:\[\]-]+", identifier)
    if found is None:
        raise _Invalid("is not a user ID", "write one such as @alice:example.org")
    # The first is in tokens made by Synapse; an application service uses the second.
    return Pin(key=key, values=(encode_base64(found[1].encode()), found[1]), worker=worker.name)
