"""Readiness: does every part of a running server work?"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from ganglion.control.client import TIMEOUT
from ganglion.control.probes import database, http, machine, replication
from ganglion.control.probes.together import together
from ganglion.data import identity
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

# In seconds. A position of another process arrives within milliseconds, and later under load.
BETWEEN_LOOKS = 0.6
MOST_LAG = 5.0
Probe = Callable[[], str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """One part. `problem` says why it is not ready, and is None if it is."""

    name: str
    problem: str | None


@dataclass(slots=True)
class _Clock:
    """The difference to PostgreSQL's clock, once it has been asked."""

    ahead: float | None = field(default=None)


def readiness(
    settings: Settings, topology: Topology, lag: float = MOST_LAG
) -> tuple[Readiness, ...]:
    """Ask every part at the same time, each for at most TIMEOUT seconds.

    With metrics, a process that has not reached a stream's position of `lag` seconds ago is behind.
    """
    measured = _Clock()
    # The name of the running server, even if its files have another by now.
    record = identity.read(settings.paths)
    server_name = settings.server_name if record is None else record.server_name
    probes = _probes(settings, topology, server_name, measured, lag)
    names = tuple(probes)
    found = dict(zip(names, together(lambda name: probes[name](), names), strict=True))
    found["disk"] = machine.disk(settings)
    if settings.tls_cert is not None:
        found["certificate"] = machine.certificate(settings)
    found["clock"] = machine.clock(settings, measured.ahead)
    return tuple(Readiness(name=name, problem=problem) for name, problem in found.items())


def _probes(
    settings: Settings,
    topology: Topology,
    server_name: str,
    measured: _Clock,
    lag: float,
) -> Mapping[str, Probe]:
    """Return the questions that take time, by the name of the part."""

    def postgres() -> str | None:
        answer = database.read_and_write(settings, TIMEOUT)
        measured.ahead = answer.ahead
        return answer.problem

    def redis() -> str | None:
        number = len(topology.here)
        return replication.redis_problem(settings, server_name, number, TIMEOUT)

    found: dict[str, Probe] = {}
    if settings.sqlite is None and settings.uses_stores:
        found["postgres"] = postgres
    if settings.uses_stores:
        found["redis"] = redis
    for process in topology.here:
        found[process.name] = partial(http.health, process.http, TIMEOUT)
    if settings.test_mode:
        found["control"] = partial(http.listens, settings.paths.control_socket, TIMEOUT)
    if settings.runs_nginx:
        found["nginx"] = partial(http.router, settings, TIMEOUT)
    if settings.enable_metrics:
        found["streams"] = partial(streams, topology, lag)
    return found


def streams(
    topology: Topology, within: float, clock: Callable[[], float] = time.monotonic
) -> str | None:
    """Return the processes that do not reach the present positions within so many seconds."""
    until = clock() + within
    goals = replication.positions(topology, TIMEOUT)
    while True:
        # A process that just wrote has told the others a moment later.
        time.sleep(max(0.0, min(BETWEEN_LOOKS, until - clock())))
        behind = replication.standing(goals, replication.positions(topology, TIMEOUT))
        if not behind:
            return None
        if clock() >= until:
            parts = (f"{name} in {', '.join(late)}" for name, late in behind.items())
            return f"are more than {within:g} s behind: {'; '.join(parts)}"
