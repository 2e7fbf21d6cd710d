"""How a topology is split: the proxy, each process that must run once, and pools of readers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ganglion.errors import ConfigError, Problem
from ganglion.settings.parts import NGINX
from ganglion.topology.topology import Process, Topology

# Each process is at the host of its own name.
HOSTS = "*={process}"
# Services beside the units.
POSTGRES, REDIS = "postgres", "redis"
# A Job of Kubernetes.
MIGRATE = "migrate"
RESERVED = (POSTGRES, REDIS, MIGRATE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One thing that is started, moved and replaced as a whole.

    `processes` are empty for nginx. Those of a unit that is not `single` only read: each may run
    twice for a moment, and there may be more or fewer of them at any time. `name` is valid in DNS.
    `least` is the lower number of a range in WORKERS, whose upper one is that of the processes.
    """

    name: str
    processes: tuple[Process, ...]
    single: bool
    least: int | None = None

    @property
    def is_nginx(self) -> bool:
        return not self.processes

    @property
    def is_main(self) -> bool:
        return any(process.is_main for process in self.processes)

    @property
    def replicas(self) -> int:
        """How many containers the unit may have: one for each process."""
        return max(1, len(self.processes))

    @property
    def numbers(self) -> str:
        """Its number of containers as WORKERS has it: one number, or a range."""
        return str(self.replicas) if self.least is None else f"{self.least}-{self.replicas}"

    @property
    def at_start(self) -> int:
        """How many containers the unit has at first."""
        return self.replicas if self.least is None else self.least

    @property
    def only(self) -> tuple[str, ...]:
        """The value of GANGLION_ONLY of each container."""
        return tuple(process.name for process in self.processes) or (NGINX,)

    @property
    def stem(self) -> str:
        """The name of its processes without their numbers."""
        return self.processes[0].group if self.processes else NGINX

    @property
    def waits(self) -> bool:
        """Whether main has to be ready first: it makes the tables."""
        return not self.is_main


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Connections from one unit or store to another. `ports` are those that listen."""

    source: str
    target: str
    ports: tuple[int, ...]


def dns(name: str) -> str:
    """Return a name as DNS takes it, the same as settings.parts.host_of does."""
    return re.sub("[_+]", "-", name.lower())


def units(topology: Topology, least: Mapping[str, int] | None = None) -> tuple[Unit, ...]:
    """Split a topology: nginx, main, then the workers in the order of WORKERS.

    `least` has the lower number of each entry with a range. Raises ConfigError if two units, or
    two of their processes, would have the same name.
    """
    found = [
        Unit(name=NGINX, processes=(), single=False),
        Unit(name="main", processes=(topology.main,), single=True),
    ]
    groups: dict[str, list[Process]] = {}
    for worker in topology.workers:
        groups.setdefault(worker.group, []).append(worker)
    for group, members in groups.items():
        if members[0].single:
            found.extend(
                Unit(name=dns(worker.name), processes=(worker,), single=True) for worker in members
            )
        else:
            found.append(
                Unit(
                    name=dns(group),
                    processes=tuple(members),
                    single=False,
                    least=(least or {}).get(group),
                )
            )
    problems = list(_same_names(found))
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def needed(topology: Topology, *processes: Process) -> Topology:
    """Return the part of a topology that a container of some processes needs; all of it for nginx.

    A process connects to main and to writers, and reads the lists of senders, pushers and jobs. So
    it needs no reader but itself.
    """
    if not processes:
        return topology
    return replace(
        topology,
        workers=tuple(item for item in topology.workers if item.single or item in processes),
    )


def alone(topology: Topology, process: Process | None) -> Topology:
    """Return the topology of a container that runs one process, or nginx alone."""
    found = needed(topology, *([] if process is None else [process]))
    return replace(
        found,
        main=replace(found.main, here=found.main == process),
        workers=tuple(replace(item, here=item == process) for item in found.workers),
    )


def flows(split: Sequence[Unit]) -> tuple[Flow, ...]:
    """Return every connection that the units make to each other and to the stores.

    A process asks others at their replication listeners; nginx asks each one for clients.
    """
    return tuple(_flows(split))


def _flows(split: Sequence[Unit]) -> Iterator[Flow]:
    for unit in split:
        if unit.is_nginx:
            for target in split:
                ports = {process.http.port for process in target.processes}
                if ports:
                    yield Flow(source=unit.name, target=target.name, ports=_ports(ports))
            continue
        for target in split:
            ports = {
                process.replication.port
                for process in target.processes
                if process.replication is not None
            }
            if ports and target is not unit:
                yield Flow(source=unit.name, target=target.name, ports=_ports(ports))
        yield Flow(source=unit.name, target=POSTGRES, ports=(5432,))
        yield Flow(source=unit.name, target=REDIS, ports=(6379,))


def _ports(found: set[int | None]) -> tuple[int, ...]:
    return tuple(sorted(port for port in found if port is not None))


def _same_names(found: Sequence[Unit]) -> Iterator[Problem]:
    names = set(RESERVED)
    for unit in found:
        own = dict.fromkeys((unit.name, *(dns(process.name) for process in unit.processes)))
        taken = next((name for name in own if name in names), None)
        if taken is not None:
            yield Problem(
                variable="WORKERS",
                value=unit.stem,
                message=f"gives a service the name {taken}, which another one has",
                hint="give the entry another name, as in NAME=ROLE",
            )
        names.update(own)
