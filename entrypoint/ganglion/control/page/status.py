"""The page's facts as JSON: pure, from a Sight that has looked."""

import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ganglion import __version__
from ganglion.control.page.chosen import Chosen
from ganglion.control.page.sight import Sight
from ganglion.control.page.traffic import Rate
from ganglion.control.programs import ProgramState
from ganglion.routing.table import table
from ganglion.topology.names import MAIN
from ganglion.topology.topology import Topology

Json = dict[str, Any]


def status(sight: Sight, problems: Mapping[str, str]) -> Json:
    """Return all that the page shows but the last hour."""
    topology = sight.watched.topology()
    routes, workers, total = sight.rates()
    answers = sight.chosen.value or {}
    return {
        "version": __version__,
        "server": sight.watched.settings.server_name,
        "now": round(time.time(), 1),
        "problems": dict(problems),
        "health": _health(sight),
        "metrics": sight.watched.settings.enable_metrics,
        "total": _rate(total),
        "processes": _processes(sight, topology, workers, answers),
        "groups": _groups(topology),
        "streams": _streams(sight, topology, answers),
        "routes": _routes(topology, routes),
        "destinations": _destinations(sight),
        "updates": [asdict(item) for item in sight.updates.value or []],
        "sizes": _sizes(sight),
        "budget": _budget(sight, answers),
        "events": [asdict(event) for event in reversed(sight.history.events)],
        "start": {} if sight.states.value is None else dict(sight.states.value.start),
    }


def _health(sight: Sight) -> Json | None:
    found = sight.health.value
    if found is None:
        return None
    return {"state": found.verdict.word.value, "problems": dict(found.verdict.problems)}


def _rate(found: Rate | None) -> Json:
    if found is None:
        return {"requests": 0.0, "failed": 0.0, "median": None, "slow": None}
    return {
        "requests": round(found.requests, 3),
        "failed": round(found.failed, 3),
        "median": None if found.median is None else round(found.median, 4),
        "slow": None if found.slow is None else round(found.slow, 4),
    }


def _processes(
    sight: Sight,
    topology: Topology,
    workers: Mapping[str, Rate],
    answers: Mapping[str, Chosen],
) -> list[Json]:
    states = {} if sight.states.value is None else sight.states.value.programs
    known = {item.name: item for item in topology.here}
    used = sight.used.value
    found = []
    for name, state in states.items():
        process = known.get(name)
        taken = None if used is None else used.footprints.get(name)
        own = answers.get(name, Chosen())
        private = own.memory.get("private")
        shared = own.memory.get("shared")
        if process is None and taken is not None:
            private, shared = (
                taken.resident - taken.shared,
                taken.own - taken.resident + taken.shared,
            )
        item = {
            **_state(state),
            "group": process.group if process else name,
            "roles": list(process.roles) if process else [],
            "synapse": process is not None,
            "processor": None if used is None else _rounded(used.shares.get(name), 4),
            "resident": None if taken is None else taken.resident,
            "private": private,
            "shared": shared,
            "connections": own.connections,
            "most_connections": own.most,
        }
        found.append(item | (_rate(workers.get(name)) if process else {}))
    return found


def _state(state: ProgramState) -> Json:
    return {
        "name": state.name,
        "state": state.state.lower(),
        "ready": state.ready,
        "given_up": state.given_up,
        "uptime": state.age,
        "restarts": max(0, state.starts - 1),
        "end": state.end,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _groups(topology: Topology) -> list[Json]:
    """Return the pools of workers in order, each with the routes that nginx passes to it."""
    routes: dict[str, list[str]] = {}
    for choice in table(topology):
        for group in dict.fromkeys(member.group for member in choice.pool.members):
            routes.setdefault(group, []).append(choice.route.name)
    groups: dict[str, list[str]] = {}
    for process in topology.here:
        groups.setdefault(process.group, []).append(process.name)
    return [
        {"name": name, "members": members, "routes": routes.get(name, [])}
        for name, members in groups.items()
    ]


def _streams(sight: Sight, topology: Topology, answers: Mapping[str, Chosen]) -> list[Json]:
    health = sight.health.value
    lags = {} if health is None else health.lags
    heads: dict[str, float] = {}
    for own in answers.values():
        for stream, position in own.positions.items():
            heads[stream] = max(position, heads.get(stream, position))
    found = []
    for stream, head in sorted(heads.items()):
        behind = {
            name: head - own.positions[stream]
            for name, own in answers.items()
            if own.positions.get(stream, head) < head
        }
        writers = topology.stream_writers.get(_written_as(stream), (MAIN,))
        late = sorted(behind.items(), key=lambda item: -item[1])
        seconds = max((own.get(stream, 0.0) for own in lags.values()), default=0.0)
        found.append(
            {
                "name": stream,
                "writers": list(writers),
                "position": head,
                "behind": late[:20],
                "seconds": round(seconds, 1),
            }
        )
    return found


def _written_as(stream: str) -> str:
    """Return the name that Synapse's options have for a stream of its metrics."""
    return "events" if stream == "backfill" else stream.removesuffix("_stream")


def _routes(topology: Topology, rates: Mapping[str, Rate]) -> list[Json]:
    members = {
        choice.route.name: [member.name for member in choice.pool.members]
        for choice in table(topology)
    }
    found: list[Json] = [
        {"name": name, "workers": members.get(name, []), **_rate(rate)}
        for name, rate in rates.items()
    ]
    return sorted(found, key=lambda item: (-item["requests"], item["name"]))


def _destinations(sight: Sight) -> Json:
    items, number = sight.destinations.value or ([], 0)
    return {"number": number, "items": [asdict(item) for item in items]}


def _sizes(sight: Sight) -> Json:
    database, media = sight.postgres.value, sight.media.value
    return {
        "database": None if database is None else database.size,
        "connections": {} if database is None else dict(database.connections),
        "most_connections": None if database is None else database.most_connections,
        "media": None if media is None else asdict(media),
    }


CONTROL = "control application"
# The purposes of the budget, by the programs that use them.
PURPOSES = {
    "Synapse": ("synapse", "caches"),
    "PostgreSQL": (
        "postgres",
        "connections",
        "shared_buffers",
        "work_mem",
        "maintenance_work_mem",
    ),
    "Redis": ("redis",),
    "nginx": ("nginx",),
    CONTROL: ("control",),
}
PROGRAMS = {"PostgreSQL": "postgres", "Redis": "redis", "nginx": "nginx"}


def _budget(sight: Sight, answers: Mapping[str, Chosen]) -> Json:
    plan, used = sight.budget.value, sight.used.value
    if plan is None:
        return {"memory": None, "rows": []}
    rows = []
    for purpose, names in PURPOSES.items():
        amount = sum(plan["shares"].get(name, 0) for name in names)
        taken: float | None = None
        if purpose == "Synapse" and answers:
            taken = sum(own.memory.get("proportional", 0) for own in answers.values())
        elif purpose == CONTROL and used is not None:
            taken = used.control
        elif used is not None and (item := used.footprints.get(PROGRAMS.get(purpose, ""))):
            taken = item.own
        if amount:
            rows.append({"name": purpose, "planned": amount, "used": taken})
    return {"memory": plan["memory"], "rows": rows}
