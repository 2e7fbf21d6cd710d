"""The steps from one layout to another: pure, in an order that is safe at each of them.

Without a difference in what processes share, new processes start beside the old ones. Otherwise all
that read it stop, their requests wait in their sockets, and none starts before all have ended.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from ganglion.changes.layout import JOBS, Layout, View, Views
from ganglion.programs import control, nginx
from ganglion.programs.postgres import server as postgres
from ganglion.topology.names import MAIN

# PostgreSQL keeps that many connections for administrators: superuser_reserved_connections.
RESERVED = 3
NGINX_FILES = (nginx.CONF, "maps.conf")
LISTS = {
    "federation_sender_instances": "federation senders",
    "pusher_instances": "pushers",
    "outbound_federation_restricted_to": "processes that may contact other servers",
    "instance_map": "addresses",
}


class Action(Enum):
    """The kinds of steps, by the words in which the supervisor is asked for them."""

    STOP = "stop"
    FILES = "files"
    PROXY = "proxy"
    SERVER = "server"
    REMOVE = "remove"
    START = "start"
    RESTART = "restart"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step, with the programs that it concerns."""

    action: Action
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All that differs between two layouts, and the steps from one to the other.

    `together` are the processes that stop and start together; `reasons` say what they share. `kept`
    are files that stay as they are, because the program that has read them goes on.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    together: tuple[str, ...]
    reasons: tuple[str, ...]
    steps: tuple[Step, ...]
    kept: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether the two layouts are the same."""
        return not self.steps


def between(old: Layout, new: Layout) -> Changes:
    """Return the steps from `old` to `new`, two layouts of one server.

    The files of `old` are those that the running programs have read.
    """
    before, after = Views(old), Views(new)
    were, are = old.processes, new.processes
    added = tuple(name for name in are if name not in were)
    removed = tuple(name for name in were if name not in are)
    stay = [name for name in were if name in are]
    pairs = {name: (before.of(were[name]), after.of(are[name])) for name in stay}
    together = [name for name, (one, other) in pairs.items() if one != other]
    # A removed process that would see another list, or holds a job that another process gets.
    conflicting = [name for name in removed if before.shared(name) != after.shared(name)]
    reasons = [
        *_reasons(pairs.values()),
        *_reasons_of((before.shared(name), after.shared(name)) for name in conflicting),
    ]
    pools = _connections(old, new, together, added)
    grows = pools > _limit(old)
    overlapping = [name for name in removed if name not in conflicting]
    if added and pools + _connections_of(old, overlapping) > _limit(old):
        # Those that are added have no room before these are gone.
        conflicting = list(removed)
    kept = () if grows or postgres.CONF not in old.files else (postgres.CONF,)
    if old.files == {**new.files, **{path: old.files[path] for path in kept}}:
        return Changes(added=(), removed=(), together=(), reasons=(), steps=(), kept=kept)
    if grows:
        # Every process would lose its connections. None has any while it is stopped.
        together, conflicting = list(stay), list(removed)
        reasons.append("PostgreSQL, which restarts to take more connections")
    steps = _steps(
        old,
        new,
        together=together,
        added=added,
        first=conflicting,
        last=[name for name in removed if name not in conflicting],
        grows=grows,
    )
    return Changes(
        added=added,
        removed=removed,
        together=tuple(together),
        reasons=tuple(dict.fromkeys(reasons)),
        steps=tuple(steps),
        kept=kept,
    )


def _steps(
    old: Layout,
    new: Layout,
    *,
    together: Sequence[str],
    added: Sequence[str],
    first: Sequence[str],
    last: Sequence[str],
    grows: bool,
) -> list[Step]:
    files = Step(action=Action.FILES)
    proxy = _differing(old, new, NGINX_FILES)
    reload = [Step(action=Action.PROXY, names=(nginx.NAME,))] if proxy else []
    starts = [name for name in new.processes if name in together or name in added]
    start = [Step(action=Action.START, names=tuple(starts))] if starts else []
    if together or first:
        # Their sockets take requests before they start, so the proxy may send them at once. A
        # process that has been stopped must not get requests that it no longer answers.
        # Removed writers, whose place nobody takes, work until the proxy knows of others.
        idle = [name for name in first if old.processes[name].replication is None]
        steps = [
            *_stops(old, [*together, *idle]),
            files,
            *reload,
            *_removal(first),
            *([Step(action=Action.SERVER, names=(postgres.NAME,))] if grows else []),
            *start,
            *_removal(last),
        ]
    else:
        steps = [files, *start, *reload, *_removal(last)]
    if _differing(old, new, (control.CONF,)):
        steps.append(Step(action=Action.RESTART, names=(control.NAME,)))
    return steps


def _stops(old: Layout, names: Iterable[str]) -> list[Step]:
    """Stop those first that ask others: each finishes its requests while these still answer.

    Everybody asks the writers of events, and main asks other writers.
    """
    writers = old.plan.topology.stream_writers
    persisters = writers.get("events", ())
    layers: list[list[str]] = [[], [], [], []]
    for name in names:
        if name in persisters:
            layers[3].append(name)
        elif old.processes[name].replication is None:
            layers[0].append(name)
        else:
            layers[1 if name == MAIN else 2].append(name)
    return [Step(action=Action.STOP, names=tuple(layer)) for layer in layers if layer]


def _removal(names: Sequence[str]) -> list[Step]:
    return [Step(action=Action.REMOVE, names=tuple(names))] if names else []


def _differing(old: Layout, new: Layout, paths: Iterable[str]) -> bool:
    return any(old.files.get(path) != new.files.get(path) for path in paths)


def _limit(old: Layout) -> float:
    """How many connections the running PostgreSQL takes; an external one is not known."""
    if postgres.CONF not in old.files:
        return math.inf
    return postgres.max_connections(old.files[postgres.CONF]) - RESERVED


def _connections_of(old: Layout, names: Iterable[str]) -> int:
    """How many connections the pools of processes can open."""
    return sum(old.plan.budget.pools[name].most for name in names)


def _connections(old: Layout, new: Layout, together: Sequence[str], added: Sequence[str]) -> int:
    """How many connections all pools of the new layout could open.

    A process that goes on has the pool of before, or the next one once it is restarted.
    """
    fresh, before = new.plan.budget.pools, old.plan.budget.pools
    return sum(
        fresh[name].most
        if name in together or name in added
        else max(fresh[name].most, before[name].most)
        for name in new.processes
    )


def _reasons(pairs: Iterable[tuple[View, View]]) -> list[str]:
    found = []
    for one, other in pairs:
        found += _reasons_of([(one.shared, other.shared)])
        if one.own != other.own and one.shared == other.shared:
            found.append("options of their own that change")
    return found


def _reasons_of(pairs: Iterable[tuple[Mapping[str, str], Mapping[str, str]]]) -> list[str]:
    found: list[str] = []
    for one, other in pairs:
        options = [name for name in {**one, **other} if one.get(name) != other.get(name)]
        for option in options:
            if option == "stream_writers":
                found += _streams(one[option], other[option])
            elif option in JOBS:
                found.append(f"{JOBS[option]}, the job of one process")
            elif option != "instance_map" or options == ["instance_map"]:
                found.append(f"the list of {LISTS[option]}")
    return found


def _streams(one: str, other: str) -> list[str]:
    old, new = json.loads(one), json.loads(other)
    names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
    return [
        "the list of event persisters" if name == "events" else f"the writers of {name}"
        for name in names
    ]
