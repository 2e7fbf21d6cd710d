"""How many connections to PostgreSQL each Synapse process may open."""

from collections.abc import Mapping
from dataclasses import dataclass

from ganglion.settings.variables import Settings
from ganglion.topology.roles import BY_NAME, ROLES, Role
from ganglion.topology.topology import Process, Topology

# For every process, beside the work of its roles: reading streams, locks, bookkeeping.
OWN_CONNECTIONS = 1
MAIN_CONNECTIONS = 4
# Synapse's default for a process that does everything: more threads than this only contend for
# the interpreter's lock. synapse/storage/database.py, make_pool.
MOST_CONNECTIONS = 10
# A background update may hold one for long, so it must not be the only one.
LEAST_CONNECTIONS = 2
# The memory of one connection, in bytes. Measurements: programs/postgres/server.py.
CONNECTION = 5 * 1024**2
# superuser_reserved_connections, 3 by default, and some for pg_dump, psql and the readiness check.
SPARE_CONNECTIONS = 13
# Of an external server, which reserves connections itself: for the readiness check and psql.
SPARE_EXTERNAL = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPool:
    """The least number of connections that a process keeps open, and the most that it opens."""

    least: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConnections:
    """The connections of an external server: its limit, those reserved for others, those in use."""

    most: int
    reserved: int
    used: int

    @property
    def free(self) -> int:
        """How many connections the pools may have."""
        return max(0, self.most - self.reserved - self.used - SPARE_EXTERNAL)


def work_of(process: Process, topology: Topology) -> tuple[Role, ...]:
    """The roles whose work a process does: main has those that no worker has."""
    if not process.is_main:
        return tuple(BY_NAME[role] for role in process.roles)
    taken = {role for worker in topology.workers for role in worker.roles}
    return tuple(role for role in ROLES if role.name not in taken)


def bounds(settings: Settings, topology: Topology) -> Mapping[str, tuple[int, int]]:
    """For each process the connections that it cannot do without, and those it has work for.

    POSTGRES_CP_MAX, where it is given, is both.
    """
    if settings.sqlite is not None:
        # Synapse opens one connection to an SQLite database, regardless of these settings.
        return {process.name: (1, 1) for process in topology.here}
    given, floor = settings.postgres_cp_max, settings.postgres_cp_min or 1
    if given is not None:
        return {process.name: (given, given) for process in topology.here}
    found: dict[str, tuple[int, int]] = {}
    for process in topology.here:
        own = MAIN_CONNECTIONS if process.is_main else OWN_CONNECTIONS
        wanted = own + sum(role.connections for role in work_of(process, topology))
        least = max(LEAST_CONNECTIONS, floor)
        found[process.name] = (least, max(least, min(MOST_CONNECTIONS, wanted)))
    return found


def fill(
    settings: Settings, needs: Mapping[str, tuple[int, int]], further: int
) -> Mapping[str, ConnectionPool]:
    """Each process's pool, out of what it needs and `further` connections for all together.

    With more of these, no pool is smaller.
    """
    wanted = sum(most - least for least, most in needs.values())
    shared = min(max(0, further), wanted)
    floor = settings.postgres_cp_min or 1
    pools: dict[str, ConnectionPool] = {}
    for name, (least, most) in needs.items():
        size = least + ((most - least) * shared // wanted if wanted else 0)
        pools[name] = ConnectionPool(least=min(floor, size), most=size)
    return pools
