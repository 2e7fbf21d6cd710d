"""Explain where one request goes, and why."""

from collections.abc import Mapping
from dataclasses import dataclass

from ganglion.errors import ConfigError, Problem
from ganglion.routing.consistent_hash import pick
from ganglion.routing.nginx_maps import NOBODY, Request, evaluate, maps, named_upstream
from ganglion.routing.operator_routes import OperatorRoutes
from ganglion.routing.table import Choice, Key, Pool, table
from ganglion.topology.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The route of a request. `worker` is None if nginx takes the pool's workers in turn."""

    method: str
    path: str
    rule: str
    pattern: str
    why: str
    pool: str
    workers: tuple[str, ...]
    key: str
    key_value: str | None
    worker: str | None
    fallback: str | None


def explain(
    method: str,
    uri: str,
    headers: Mapping[str, str],
    address: str,
    topology: Topology,
    operator: OperatorRoutes,
    *,
    test_mode: bool = False,
) -> Explanation:
    """Work out what nginx does with a request, from the same tables.

    Raises ConfigError if the request names an unknown worker.
    """
    choices = table(topology, operator.routes)
    request = Request(
        method=method,
        uri=uri,
        headers={name.lower(): value for name, value in headers.items()},
        address=address,
    )
    nameable = tuple(process.name for process in topology.processes) if test_mode else ()
    values = evaluate(maps(choices, operator.pins, nameable), request)
    named = values.get("$ganglion_named", "")
    if named == NOBODY:
        raise ConfigError([_unknown_worker(request.headers["x-ganglion-worker"], nameable)])
    choice = next(item for item in choices if item.route.name == values["$ganglion_rule"])
    return Explanation(
        method=method,
        path=uri.partition("?")[0],
        rule=choice.route.name,
        pattern=choice.route.pattern,
        why=_why(choice, values, choices),
        pool=choice.pool.name,
        workers=tuple(member.name for member in choice.pool.members),
        key=choice.route.key.value,
        key_value=None if choice.route.key is Key.NONE else values["$ganglion_key"],
        worker=_worker(choice.pool, values),
        # A worker that the request names has no fallback.
        fallback=None if named else " then ".join(pool.name for pool in choice.fallbacks) or None,
    )


def _unknown_worker(name: str, nameable: tuple[str, ...]) -> Problem:
    return Problem(
        variable="X-Ganglion-Worker",
        value=name,
        message="is not a process of this server; nginx responds with 400",
        hint=f"use one of {', '.join(nameable)}",
    )


def _worker(pool: Pool, values: Mapping[str, str]) -> str | None:
    target = values["$ganglion_target"]
    for prefix in ("pin.", named_upstream("")):
        if target.startswith(prefix):
            return target.removeprefix(prefix)
    if len(pool.members) == 1:
        return pool.members[0].name
    if pool.key is Key.NONE:
        return None
    servers = {str(member.http): member.name for member in pool.members}
    return servers[pick(tuple(servers), values["$ganglion_key"])]


def _why(choice: Choice, values: Mapping[str, str], choices: tuple[Choice, ...]) -> str:
    """Return the reason for this row, and for this pool among its pools."""
    parts = []
    if values["$ganglion_matched"] != values["$ganglion_rule"]:
        parts.append(f"row {values['$ganglion_matched']} matches, without since or with full_state")
    elif choice is choices[-1]:
        parts.append("no row matches")
    else:
        place = choices.index(choice) + 1
        parts.append(f"row {place} of {len(choices) - 1} is the first match")
    roles = choice.route.roles
    if choice.pool.name in roles:
        skipped = roles[: roles.index(choice.pool.name)]
        if skipped:
            parts.append(f"no worker has the role {' or '.join(skipped)}")
    elif roles:
        parts.append(f"no worker has the role {' or '.join(roles)}, so main serves it")
    if values["$ganglion_target"].startswith("pin."):
        parts.append("a pin selects the worker")
    if values.get("$ganglion_named"):
        parts.append("X-Ganglion-Worker names the worker, in test mode")
    return "; ".join(parts)
