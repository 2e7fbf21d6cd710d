"""Readiness: does every part of a running server work?"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event

from ganglion.control.asking import MOST, Asking, Found, Probe
from ganglion.control.client import TIMEOUT
from ganglion.control.probes import database, http, machine, replication
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

# In seconds. A position of another process arrives within milliseconds, and later under load.
BETWEEN_LOOKS = 0.6
MOST_LAG = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """One part. `problem` says why it is not ready, and is None if it is."""

    name: str
    problem: str | None


@dataclass(slots=True)
class _Clock:
    """The difference to PostgreSQL's clock in seconds, once it is known."""

    ahead: float | None = None
    known: Event = field(default_factory=Event)


def readiness(
    settings: Settings, topology: Topology, lag: float = MOST_LAG
) -> tuple[Readiness, ...]:
    """Ask every part at the same time, each for at most TIMEOUT seconds.

    With metrics, a process that has not reached a stream's position of `lag` seconds ago is behind.
    """
    asked = dict(probes(replace(settings, server_name=name_of(settings)), topology))
    if settings.control_runs:
        asked["control"] = partial(http.listens, settings.paths.control_socket, TIMEOUT)
    slow: dict[str, Probe] = {}
    if settings.enable_metrics:
        slow["streams"] = partial(streams, topology, lag)
    began = time.monotonic()
    askings = Asking(), Asking(lag + 2 * MOST)
    askings[0].begin(asked)
    askings[1].begin(slow)
    found: dict[str, Found] = {}
    for asking in askings:
        asking.wait(began)
        found |= asking.found()
    return tuple(Readiness(name=name, problem=found[name].problem) for name in (*asked, *slow))


def name_of(settings: Settings) -> str:
    """Return the name of the running server, even if its files have another by now."""
    # Its libraries are large, and the control application needs none of them.
    from ganglion.data import identity  # noqa: PLC0415

    record = identity.read(settings.paths)
    return settings.server_name if record is None else record.server_name


def probes(settings: Settings, topology: Topology) -> Mapping[str, Probe]:
    """Return the question to each part by its name. Each ends within TIMEOUT, if it can.

    The streams, which need several looks, and the control application are not among them.
    """
    measured = _Clock()

    def postgres() -> str | None:
        try:
            answer = database.read_and_write(settings, TIMEOUT)
            measured.ahead = answer.ahead
            return answer.problem
        finally:
            measured.known.set()

    def redis() -> str | None:
        number = len(topology.here)
        return replication.redis_problem(settings, settings.server_name, number, TIMEOUT)

    def clock() -> str | None:
        if settings.sqlite is None and settings.uses_stores:
            measured.known.wait(TIMEOUT)
        return machine.clock(settings, measured.ahead)

    found: dict[str, Probe] = {}
    if settings.sqlite is None and settings.uses_stores:
        found["postgres"] = postgres
    if settings.uses_stores:
        found["redis"] = redis
    for process in topology.here:
        found[process.name] = partial(http.health, process.http, TIMEOUT)
    if settings.runs_nginx:
        found["nginx"] = partial(http.router, settings, TIMEOUT)
    found["disk"] = partial(machine.disk, settings)
    if settings.tls_cert is not None:
        found["certificate"] = partial(machine.certificate, settings)
    found["clock"] = clock
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
