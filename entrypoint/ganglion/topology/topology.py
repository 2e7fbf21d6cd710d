"""Settings + roles → Topology: the workers, their addresses, and who holds which duty."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ganglion.errors import ConfigError, Problem
from ganglion.settings.variables import Settings
from ganglion.topology.names import MAIN
from ganglion.topology.roles import AUTO, BY_NAME, ROLES, Kind
from ganglion.topology.workers_syntax import Entry, parse_workers

MOST_WORKERS = 200
# sockaddr_un.sun_path holds 108 bytes, the last of them zero: unix(7).
LONGEST_SOCKET_PATH = 107


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a listener is: the path of a unix socket, or a port on 127.0.0.1.

    As text it is what nginx's `server` takes.
    """

    path: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"127.0.0.1:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Process:
    """One Synapse process. `resources` are what it serves to nginx, beside /health."""

    name: str
    group: str
    roles: tuple[str, ...]
    resources: frozenset[str]
    http: Address
    replication: Address | None
    metrics: Address

    @property
    def is_main(self) -> bool:
        return self.name == MAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """The validated set of processes.

    `stream_writers` maps Synapse's name of each stream that is not main's to its writers,
    `jobs` the roles of background work to their workers.
    """

    main: Process
    workers: tuple[Process, ...]
    stream_writers: Mapping[str, tuple[str, ...]]
    jobs: Mapping[str, tuple[str, ...]]
    restrict_federation: bool
    notes: tuple[str, ...]

    @property
    def processes(self) -> tuple[Process, ...]:
        """Main and every worker."""
        return (self.main, *self.workers)

    @property
    def text(self) -> str:
        """A text of WORKERS that comes to the same workers."""
        groups: dict[str, list[Process]] = {}
        for worker in self.workers:
            groups.setdefault(worker.group, []).append(worker)
        return ", ".join(
            f"{group}={'+'.join(members[0].roles)}:{len(members)}"
            for group, members in groups.items()
        )

    def having(self, role: str) -> tuple[Process, ...]:
        """The workers that have a role, in order."""
        return tuple(worker for worker in self.workers if role in worker.roles)


def build(settings: Settings, auto: str = "") -> Topology:
    """Work out the topology, in which the preset auto stands for the text `auto`: layouts.py has
    the one that suits the machine.

    Raises ConfigError with every problem that stands in its way.
    """
    variable = "SYNAPSE_WORKER_TYPES" if settings.repeats_add_up else "WORKERS"
    parsed = parse_workers(
        AUTO if settings.workers is None else settings.workers,
        variable=variable,
        repeats_add_up=settings.repeats_add_up,
        auto=auto,
    )
    problems = [*parsed.problems, *_too_many(parsed.entries, variable)]
    # Where an entry could not be read, it may be the one that this would miss.
    if not parsed.problems:
        problems.extend(_impossible(parsed.entries, settings, variable))
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
    workers = tuple(
        _worker(settings, index, name, group, roles, replicating=name in replicating)
        for index, (name, (group, roles)) in enumerate(roles_of.items(), start=1)
    )
    jobs = {role.name: _holders(roles_of, role.name) for role in ROLES if role.kind is Kind.JOB}
    serves_media = not jobs["media_repository"]
    topology = Topology(
        main=Process(
            name=MAIN,
            group=MAIN,
            roles=(),
            resources=frozenset({"client", "federation"} | ({"media"} if serves_media else set())),
            http=_address(settings, 0, MAIN, ""),
            replication=_address(settings, 0, MAIN, "replication"),
            metrics=_address(settings, 0, MAIN, "metrics"),
        ),
        workers=workers,
        stream_writers=MappingProxyType(stream_writers),
        jobs=MappingProxyType({role: names for role, names in jobs.items() if names}),
        restrict_federation=settings.restrict_federation,
        notes=parsed.notes,
    )
    problems = [*_too_long(topology, settings), *_taken_ports(topology, settings)]
    if problems:
        raise ConfigError(problems)
    return topology


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
    # Media workers serve the administration of media, which includes its quarantine, and only
    # a writer of this stream can quarantine. See roles.py.
    media = _holders(roles_of, "media_repository")
    if media and "quarantined_media_changes" not in writers:
        writers["quarantined_media_changes"] = media
    return writers


def _worker(
    settings: Settings,
    index: int,
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
        http=_address(settings, index, name, ""),
        replication=_address(settings, index, name, "replication") if replicating else None,
        metrics=_address(settings, index, name, "metrics"),
    )


def _address(settings: Settings, index: int, name: str, use: str) -> Address:
    """Where process number `index` listens for one `use`: "" for HTTP, replication, metrics."""
    if settings.unix_sockets:
        return Address(path=settings.paths.socket(f"{name}.{use}" if use else name))
    offset = ("", "replication", "metrics").index(use)
    return Address(port=settings.internal_port_base + 3 * index + offset)


def _too_many(entries: tuple[Entry, ...], variable: str) -> Iterator[Problem]:
    total = sum(entry.count for entry in entries)
    if total > MOST_WORKERS:
        yield Problem(
            variable=variable,
            value=None,
            message=f"asks for {total} workers, {MOST_WORKERS} are the most",
            hint="ask for fewer",
        )
    for role in ROLES:
        holders = [entry for entry in entries if role.name in entry.roles]
        number = sum(entry.count for entry in holders)
        if role.limit is not None and number > role.limit:
            places = ", ".join(f"{entry.name}:{entry.count}" for entry in holders)
            yield Problem(
                variable=variable,
                value=places,
                message=f"gives the role {role.name} to {number} workers; Synapse lets only "
                f"{role.limit} have it",
                hint=f"leave {role.name} on one worker of count 1, or drop a preset's with NAME:0",
            )


def _impossible(entries: tuple[Entry, ...], settings: Settings, variable: str) -> Iterator[Problem]:
    """Combinations of WORKERS with another variable that cannot be."""
    sending = any("federation_sender" in entry.roles for entry in entries)
    if settings.restrict_federation and not sending:
        yield Problem(
            variable="GANGLION_RESTRICT_FEDERATION",
            value="yes",
            message=f"leaves nobody to talk to other homeservers: {variable} has no"
            " federation_sender",
            hint=f"add federation_sender to {variable}, or unset GANGLION_RESTRICT_FEDERATION",
        )

    if settings.sqlite is not None and entries:
        tests = settings.test_mode
        yield Problem(
            variable=variable,
            value=settings.workers,
            message=f"asks for workers, which cannot use an SQLite database: {settings.sqlite}",
            hint="unset SYNAPSE_COMPLEMENT_DATABASE for PostgreSQL, or ask for no workers"
            if tests
            else "move it to a PostgreSQL server with synapse_port_db (docs/drop-in.md) and set"
            " POSTGRES_HOST; or set WORKERS=none; or move the file away for a new, empty database",
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
            message=f"makes a socket's path of {len(longest)} bytes, {longest}; "
            f"{LONGEST_SOCKET_PATH} are the most",
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
                hint="choose another, or move those with INTERNAL_PORT_BASE",
            )


def _addresses(topology: Topology) -> Iterator[Address]:
    """Every address at which one of the processes may listen."""
    for process in topology.processes:
        for address in (process.http, process.replication, process.metrics):
            if address is not None:
                yield address
