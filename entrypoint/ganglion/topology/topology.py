"""Build the topology from the settings: the workers, their addresses and their duties."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ganglion.errors import ConfigError, Problem
from ganglion.settings.variables import Settings
from ganglion.topology import parts
from ganglion.topology.names import MAIN
from ganglion.topology.parts import Name, Place
from ganglion.topology.roles import AUTO, BY_NAME, ROLES, Kind
from ganglion.topology.workers_syntax import Entry, parse_workers

MOST_WORKERS = 200
# sockaddr_un.sun_path has 108 bytes, and the last one is zero: unix(7).
LONGEST_SOCKET_PATH = 107


LOOPBACK = "127.0.0.1"
# The one role of kind JOB in which any worker serves the requests of all.
MEDIA = "media_repository"


def bracketed(host: str) -> str:
    """Return a host as it stands before a port."""
    return f"[{host}]" if ":" in host else host


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """The address of a listener: the path of a Unix socket, or a port of a host.

    `host` is the name by which all containers know it, `reached` the one by which this container
    connects, and `bound` the address that the port is bound to. str() gives the address as an nginx
    `server` directive expects it: the same in all containers, as nginx distributes keys by it.
    `tls` says that it is encrypted.
    """

    path: str | None = None
    port: int | None = None
    host: str = LOOPBACK
    reached: str = LOOPBACK
    bound: str = LOOPBACK
    tls: bool = False

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{bracketed(self.host)}:{self.port}"

    @property
    def listens(self) -> str:
        """The address as the supervisor opens it."""
        return f"unix:{self.path}" if self.path else f"{self.bound}:{self.port}"

    @property
    def near(self) -> str:
        """The address as this container connects to it."""
        return f"unix:{self.path}" if self.path else f"{bracketed(self.reached)}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One Synapse process. `resources` are those that its HTTP listener serves, besides /health.

    One that is not `here` runs in another container.
    """

    name: str
    group: str
    roles: tuple[str, ...]
    resources: frozenset[str]
    http: Address
    replication: Address | None
    metrics: Address
    here: bool = True

    @property
    def is_main(self) -> bool:
        return self.name == MAIN

    @property
    def single(self) -> bool:
        """Whether the process must run once: it writes, does a job, or has sessions in memory."""
        return self.is_main or not all(BY_NAME[role].only_reads for role in self.roles)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The validated set of processes.

    `stream_writers` maps Synapse's name of each stream that main does not write to its writers.
    `jobs` maps each role of kind JOB to its workers. `ranges` maps each entry with a range to its
    upper number; the workers are those of the lower one.
    """

    main: Process
    workers: tuple[Process, ...]
    stream_writers: Mapping[str, tuple[str, ...]]
    jobs: Mapping[str, tuple[str, ...]]
    restrict_federation: bool
    notes: tuple[str, ...]
    ranges: Mapping[str, int] = field(default_factory=dict)

    @property
    def processes(self) -> tuple[Process, ...]:
        """Main and every worker, of all containers."""
        return (self.main, *self.workers)

    @property
    def here(self) -> tuple[Process, ...]:
        """The processes that this container runs."""
        return tuple(process for process in self.processes if process.here)

    @property
    def text(self) -> str:
        """A text of WORKERS that describes the same workers."""
        groups: dict[str, list[Process]] = {}
        for worker in self.workers:
            groups.setdefault(worker.group, []).append(worker)
        return ", ".join(
            f"{group}={'+'.join(members[0].roles)}:{len(members)}"
            for group, members in groups.items()
        )

    def having(self, role: str) -> tuple[Process, ...]:
        """Return the workers that have a role, in order."""
        return tuple(worker for worker in self.workers if role in worker.roles)

    def stands_alone(self, process: Process) -> bool:
        """Return whether no other process takes over the work of this one while it is down.

        Work is divided by name among several that write a stream or send, so none of them stands
        in. Each media worker serves all requests.
        """
        kinds = {BY_NAME[role].kind for role in process.roles if role != MEDIA}
        media = MEDIA in process.roles and len(self.having(MEDIA)) == 1
        return process.is_main or media or bool(kinds - {Kind.GENERIC})


def build(settings: Settings, auto: str = "") -> Topology:
    """Build the topology. The preset `auto` of WORKERS stands for the text `auto`.

    See auto.build for the layout that suits the machine. Raises ConfigError with every problem.
    """
    variable = "SYNAPSE_WORKER_TYPES" if settings.repeats_add_up else "WORKERS"
    parsed = parse_workers(
        AUTO if settings.workers is None else settings.workers,
        variable=variable,
        repeats_add_up=settings.repeats_add_up,
        auto=auto,
    )
    problems = [*parsed.problems, *_too_many(parsed.entries, variable)]
    # An entry with a problem may be the one that these checks would find missing.
    if not parsed.problems:
        problems.extend(_contradictions(parsed.entries, settings, variable))
    if problems:
        raise ConfigError(problems)
    roles_of = {
        f"{entry.name}{number}": (entry.name, entry.roles)
        for entry in parsed.entries
        for number in range(1, entry.count + 1)
    }
    stream_writers = _stream_writers(roles_of)
    replicating = {name for writers in stream_writers.values() for name in writers}
    if settings.restrict_federation:
        replicating.update(_holders(roles_of, "federation_sender"))
    names = {MAIN: Name(group=MAIN, roles=())} | {
        name: Name(group=group, roles=roles) for name, (group, roles) in roles_of.items()
    }
    places = parts.places(settings, names)
    workers = tuple(
        _worker(settings, places[name], name, group, roles, replicating=name in replicating)
        for name, (group, roles) in roles_of.items()
    )
    jobs = {role.name: _holders(roles_of, role.name) for role in ROLES if role.kind is Kind.JOB}
    serves_media = not jobs["media_repository"]
    topology = Topology(
        main=Process(
            name=MAIN,
            group=MAIN,
            roles=(),
            resources=frozenset({"client", "federation"} | ({"media"} if serves_media else set())),
            http=_address(settings, places[MAIN], MAIN, ""),
            replication=_address(settings, places[MAIN], MAIN, "replication"),
            metrics=_address(settings, places[MAIN], MAIN, "metrics"),
            here=places[MAIN].here,
        ),
        workers=workers,
        stream_writers=MappingProxyType(stream_writers),
        jobs=MappingProxyType({role: names for role, names in jobs.items() if names}),
        restrict_federation=settings.restrict_federation,
        notes=(*parsed.notes, *_range_notes(parsed.entries)),
        ranges=MappingProxyType(
            {entry.name: entry.most for entry in parsed.entries if entry.most is not None}
        ),
    )
    problems = [*_too_long(topology, settings), *_taken_ports(topology, settings)]
    if problems:
        raise ConfigError(problems)
    return topology


def _range_notes(entries: tuple[Entry, ...]) -> Iterator[str]:
    for entry in entries:
        if entry.most is not None:
            yield (
                f"{entry.name} has {entry.count} to {entry.most} workers, and {entry.count} run:"
                " only the exports for Kubernetes and Swarm use the upper number"
            )


def _holders(roles_of: Mapping[str, tuple[str, tuple[str, ...]]], role: str) -> tuple[str, ...]:
    return tuple(name for name, (_, roles) in roles_of.items() if role in roles)


def _stream_writers(
    roles_of: Mapping[str, tuple[str, tuple[str, ...]]],
) -> dict[str, tuple[str, ...]]:
    writers = {
        role.stream: holders
        for role in ROLES
        if role.stream and (holders := _holders(roles_of, role.name))
    }
    # Media workers serve the media administration API, which includes quarantining, and only a
    # writer of this stream can quarantine. See roles.py.
    media = _holders(roles_of, "media_repository")
    if media and "quarantined_media_changes" not in writers:
        writers["quarantined_media_changes"] = media
    return writers


def _worker(
    settings: Settings,
    place: Place,
    name: str,
    group: str,
    roles: tuple[str, ...],
    *,
    replicating: bool,
) -> Process:
    return Process(
        name=name,
        group=group,
        roles=roles,
        resources=frozenset().union(*(BY_NAME[role].resources for role in roles)),
        http=_address(settings, place, name, ""),
        replication=_address(settings, place, name, "replication") if replicating else None,
        metrics=_address(settings, place, name, "metrics"),
        here=place.here,
    )


def _address(settings: Settings, place: Place, name: str, use: str) -> Address:
    """Return the address of a process for HTTP (""), replication or metrics."""
    if settings.unix_sockets and not settings.partial:
        return Address(path=settings.paths.socket(f"{name}.{use}" if use else name))
    offset = ("", "replication", "metrics").index(use)
    port = settings.internal_port_base + 3 * place.number + offset
    if not settings.partial:
        return Address(port=port)
    # Bound to every address, because a container's own one changes.
    reached = LOOPBACK if place.here else place.host
    tls = use == "replication" and settings.encrypts_replication
    return Address(port=port, host=place.host, reached=reached, bound=parts.EVERYWHERE, tls=tls)


def _too_many(entries: tuple[Entry, ...], variable: str) -> Iterator[Problem]:
    total = sum(entry.count for entry in entries)
    if total > MOST_WORKERS:
        yield Problem(
            variable=variable,
            value=None,
            message=f"asks for {total} workers; the maximum is {MOST_WORKERS}",
            hint="lower the counts or remove entries",
        )
    for role in ROLES:
        holders = [entry for entry in entries if role.name in entry.roles]
        number = sum(entry.count for entry in holders)
        if role.limit is not None and number > role.limit:
            places = ", ".join(f"{entry.name}:{entry.count}" for entry in holders)
            yield Problem(
                variable=variable,
                value=places,
                message=f"gives the role {role.name} to {number} workers; Synapse allows only "
                f"{role.limit}",
                hint=f"keep {role.name} on one worker with count 1;"
                " NAME:0 removes an entry of a preset",
            )


def _contradictions(
    entries: tuple[Entry, ...], settings: Settings, variable: str
) -> Iterator[Problem]:
    """Yield contradictions between WORKERS and another variable."""
    sending = any("federation_sender" in entry.roles for entry in entries)
    if settings.restrict_federation and not sending:
        yield Problem(
            variable="GANGLION_RESTRICT_FEDERATION",
            value="yes",
            message=f"leaves no worker to contact other homeservers: {variable} has no"
            " federation_sender",
            hint=f"add federation_sender to {variable}, or unset GANGLION_RESTRICT_FEDERATION",
        )

    if settings.sqlite is not None and entries:
        tests = settings.test_mode
        yield Problem(
            variable=variable,
            value=settings.workers,
            message=f"asks for workers, which cannot use SQLite: {settings.sqlite}",
            hint="unset SYNAPSE_COMPLEMENT_DATABASE to use PostgreSQL, or set WORKERS=none"
            if tests
            else "stop the server and type `ganglion import --from-sqlite`, which runs"
            " synapse_port_db; or set WORKERS=none; or move the file away to start with a"
            " new, empty database",
        )


def _too_long(topology: Topology, settings: Settings) -> Iterator[Problem]:
    paths = [address.path for address in _addresses(topology) if address.path is not None]
    if settings.embedded_postgres:
        paths.append(f"{settings.paths.postgres_sockets}/.s.PGSQL.{settings.postgres_port}")
    longest = max(paths, key=len, default="")
    if len(longest) > LONGEST_SOCKET_PATH:
        yield Problem(
            variable="GANGLION_RUN",
            value=settings.run,
            message=f"makes a socket path of {len(longest)} bytes; the maximum is"
            f" {LONGEST_SOCKET_PATH}: {longest}",
            hint="use a shorter directory such as /run/ganglion, or a shorter worker name",
        )


def _taken_ports(topology: Topology, settings: Settings) -> Iterator[Problem]:
    taken = [address.port for address in _addresses(topology) if address.port is not None]
    for name, port in settings.public_ports.items():
        if port in taken:
            yield Problem(
                variable=name,
                value=str(port),
                message=f"is one of the loopback ports of the processes, {min(taken)} to"
                f" {max(taken)}",
                hint="choose another port, or move the loopback ports with INTERNAL_PORT_BASE",
            )


def _addresses(topology: Topology) -> Iterator[Address]:
    """Yield every address that a process may listen on."""
    for process in topology.here:
        for address in (process.http, process.replication, process.metrics):
            if address is not None:
                yield address
