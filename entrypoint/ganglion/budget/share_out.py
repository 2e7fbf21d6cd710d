"""Settings, topology and machine → one plan of memory and connections for the whole container.

Some amounts are fixed by what runs. What memory is left is shared out by PARTS: of everything at
least so much that it works, at most what it has use for, and between them its part of what is left.
So more memory never gives anything less. docs/budget.md tells it at length.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ganglion.budget import connections
from ganglion.budget.amounts import Budget, Caches, Idle, Nginx, Part, Postgres, Redis
from ganglion.budget.connections import SPARE_CONNECTIONS, SPARE_EXTERNAL, Pool, Room
from ganglion.errors import ConfigError, Problem
from ganglion.machine import limits
from ganglion.machine.installed import Machine
from ganglion.machine.limits import Limits, amount
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

KB, MB, GB = 1024, 1024**2, 1024**3

# The kernel's own share: sockets, page tables, and peaks that nobody planned.
RESERVE_LEAST, RESERVE_PART = 32 * MB, 20
# PSS (/proc/PID/smaps_rollup) of the image's processes, idle, on 2026-11-25: 123M for supervisor
# and main alone, 154M with 2 workers, 276M with 10, 358M with the 16 of complement. What all share
# is counted once, the supervisor with it. Where counts of references are written to, as on Python
# 3.11, each takes 50M.
SHARED, EACH_FORKED, EACH_COUNTING = 110 * MB, 16 * MB, 50 * MB
# A Python of its own with Synapse in it: 104M to 106M of PSS, idle, on 3.11.
SUPERVISOR, EACH_FRESH = 30 * MB, 100 * MB
# What a process takes more than idle while it works, its caches aside. An estimate.
AT_WORK = 30 * MB
# 20000 events of a room, in a process with Synapse imported, took 58 MB of PSS: 2.9 kB each. State
# and relations come on top of it.
EVENT = 4 * KB
# The part of a process's caches that is for events; they have an option of their own.
EVENT_PART = 4
# What all other caches may come to at a factor of 1. An estimate: the sum of their entries is some
# two million, and not every cache fills.
AT_FACTOR_ONE = 256 * MB
FACTORS = (0.1, 10.0)
# What jemalloc counts as allocated in a process that has imported Synapse and done nothing: 27 MB
# of 115 MB PSS. Python's small objects are not in it, PYTHONMALLOC=malloc would put them there.
ALLOCATED_AT_START = 32 * MB
CACHES_LEAST, CACHES_MOST = 16 * MB, 4 * GB
# Beside the roles that no worker has: a quarter of Synapse's requests only main answers.
MAIN_WEIGHT = 5
# PostgreSQL's own processes, and a connection's. Idle, all of them took 41M of PSS with main alone
# and 101M with the 17 processes of complement; main's first connection took 21M after its start.
POSTGRES, CONNECTION = 25 * MB, 5 * MB
# A hash takes twice work_mem: PostgreSQL's hash_mem_multiplier.
HASH = 2
# autovacuum_max_workers, each with its maintenance_work_mem.
VACUUMS = 3
# The control application: gunicorn and its one process took 25M of PSS before its first reset, for
# which it imports Redis's client.
CONTROL = 48 * MB
# What a server for tests is given beyond the least of everything. It has few users, and often many
# beside it, each of which would plan with half of the machine: 20 in a machine of 24G took 246M of
# PSS each, 85M of it PostgreSQL's and 14M nginx's, and 181M with GANGLION_MEMORY=768M.
ENOUGH_FOR_TESTS = 512 * MB
# An nginx worker takes 5M of PSS idle; a connection with its buffers is an estimate.
NGINX_WORKER, NGINX_CONNECTION = 6 * MB, 8 * KB
# One nginx passes on far more than one of Synapse's processes answers.
MOST_NGINX_WORKERS = 4
NGINX_CONNECTIONS_LEAST = 512
# Each of Synapse's processes subscribes, publishes and asks: three connections.
REDIS_CLIENTS_EACH, REDIS_CLIENTS_SPARE = 4, 32


def share_out(
    settings: Settings, topology: Topology, machine: Machine, room: Room | None = None
) -> Budget:
    """The budget. `room` is what an external PostgreSQL server says of its connections.

    Raises ConfigError where the least of everything is more than there is.
    """
    within = limits.chosen(machine.limits, memory=settings.memory, cpus=settings.cpus)
    reserve = max(RESERVE_LEAST, within.memory // RESERVE_PART)
    needs = connections.bounds(settings, topology)
    if room is not None:
        _check_connections(settings, needs, room)
    sorts = HASH * min(within.cores, len(topology.processes))
    parts = _parts(settings, topology, machine, within, sorts)
    idle = _idle(settings, machine)
    synapse = _synapse(idle, topology)
    postgres = POSTGRES if settings.embedded_postgres else 0
    control = CONTROL if settings.test_mode else 0
    least = synapse + postgres + control + sum(part.least for part in parts.values())
    left = within.memory - reserve - least
    if left < 0:
        raise ConfigError([_too_little(settings, topology, within, parts, idle, least)])
    if settings.test_mode and settings.memory is None:
        left = min(left, ENOUGH_FOR_TESTS)
    given = {
        name: min(part.most, part.least + left * part.part // 1000) for name, part in parts.items()
    }
    filled = connections.fill(settings, needs, _further(parts["connections"], given, needs, room))
    caches = _caches(settings, topology, machine, given["caches"])
    given["caches"] = sum(item.memory for item in caches.values())
    if settings.embedded_postgres:
        given["connections"] = CONNECTION * sum(pool.most for pool in filled.values())
    spare = within.memory - reserve - synapse - postgres - control - sum(given.values())
    return Budget(
        limits=within,
        idle=idle,
        memory={"reserve": reserve, "synapse": synapse, "postgres": postgres, **given}
        | {"control": control, "files": spare},
        caches=caches,
        pools=filled,
        postgres=_postgres(given, spare, filled, sorts) if settings.embedded_postgres else None,
        redis=_redis(given["redis"], topology) if settings.embedded_redis else None,
        nginx=_nginx(given["nginx"], within, machine),
    )


def _idle(settings: Settings, machine: Machine) -> Idle:
    if not settings.prefork:
        return Idle(shared=SUPERVISOR, each=EACH_FRESH)
    return Idle(shared=SHARED, each=EACH_FORKED if machine.immortal else EACH_COUNTING)


def _synapse(idle: Idle, topology: Topology) -> int:
    """What Synapse's processes take before their caches fill."""
    return idle.shared + len(topology.processes) * (idle.each + AT_WORK)


def _nginx_workers(within: Limits) -> int:
    return min(MOST_NGINX_WORKERS, within.cores)


def _parts(
    settings: Settings, topology: Topology, machine: Machine, within: Limits, sorts: int
) -> dict[str, Part]:
    """What can do with more or less. The parts leave a tenth to the kernel's cache of files, which
    PostgreSQL reads through. `sorts` run at once: one that waits for a processor does not grow.
    """
    processes, needs = len(topology.processes), connections.bounds(settings, topology)
    own, redis = settings.embedded_postgres, settings.embedded_redis
    workers = _nginx_workers(within)
    nothing = Part(least=0, part=0, most=0)
    asked = [sum(bound[index] for bound in needs.values()) * CONNECTION for index in (0, 1)]
    worker_most = NGINX_WORKER + machine.open_files // 2 * NGINX_CONNECTION
    worker_least = NGINX_WORKER + NGINX_CONNECTIONS_LEAST * NGINX_CONNECTION
    return {
        "caches": Part(
            least=processes * CACHES_LEAST,
            part=450 if own else 700,
            most=processes * CACHES_MOST,
        ),
        "connections": Part(least=asked[0], part=100, most=asked[1]) if own else nothing,
        "shared_buffers": Part(least=32 * MB, part=200, most=16 * GB) if own else nothing,
        "work_mem": Part(least=sorts * 4 * MB, part=40, most=sorts * 64 * MB) if own else nothing,
        "maintenance_work_mem": Part(least=VACUUMS * 16 * MB, part=40, most=VACUUMS * GB)
        if own
        else nothing,
        "redis": Part(least=16 * MB, part=30, most=GB) if redis else nothing,
        "nginx": Part(
            least=workers * min(worker_least, worker_most), part=40, most=workers * worker_most
        ),
    }


def _further(
    part: Part,
    given: Mapping[str, int],
    needs: Mapping[str, tuple[int, int]],
    room: Room | None,
) -> int:
    """How many connections there are beyond those that are needed: as many as there is memory for,
    or as an external server can give.
    """
    if room is not None:
        return room.free - sum(least for least, _ in needs.values())
    if part.most:
        return (given["connections"] - part.least) // CONNECTION
    return sum(most - least for least, most in needs.values())


def _caches(
    settings: Settings, topology: Topology, machine: Machine, memory: int
) -> dict[str, Caches]:
    """Each process's caches. What is more than the least goes by the weight of its work."""
    weights = {
        process.name: (MAIN_WEIGHT if process.is_main else 1)
        + sum(role.caches for role in connections.work_of(process, topology))
        for process in topology.processes
    }
    further, all_weights = memory - len(weights) * CACHES_LEAST, sum(weights.values())
    found = {
        name: _caches_of(min(CACHES_MOST, CACHES_LEAST + further * weight // all_weights), machine)
        for name, weight in weights.items()
    }
    # Whoever says how much is to be kept gets it; eviction still begins where memory ends.
    asked: dict[str, Any] = {}
    if settings.cache_factor is not None:
        asked["factor"] = settings.cache_factor
    if settings.event_cache_size is not None:
        asked["events"] = settings.event_cache_size
    return {name: replace(caches, **asked) for name, caches in found.items()}


def _caches_of(memory: int, machine: Machine) -> Caches:
    """The options that come to so much memory. Eviction starts when it is reached, and then goes
    on until a fifth is free, so that it does not start again at once.
    """
    events = memory // EVENT_PART
    factor = (memory - events) * 100 // AT_FACTOR_ONE / 100
    lowest, highest = FACTORS
    return Caches(
        memory=memory,
        factor=min(highest, max(lowest, factor)),
        events=events // EVENT,
        evict_above=ALLOCATED_AT_START + memory if machine.jemalloc else None,
        evict_until=ALLOCATED_AT_START + memory * 4 // 5 if machine.jemalloc else None,
    )


def _postgres(
    given: Mapping[str, int], spare: int, filled: Mapping[str, Pool], sorts: int
) -> Postgres:
    """The settings of the embedded server. The kernel's cache of files is what nobody was given."""
    return Postgres(
        max_connections=sum(pool.most for pool in filled.values()) + SPARE_CONNECTIONS,
        shared_buffers=given["shared_buffers"] // MB,
        effective_cache_size=(given["shared_buffers"] + spare) // MB,
        work_mem=given["work_mem"] // sorts // MB,
        maintenance_work_mem=given["maintenance_work_mem"] // VACUUMS // MB,
    )


def _redis(memory: int, topology: Topology) -> Redis:
    """Half of it is for what is kept, half for what slow readers have yet to read."""
    return Redis(
        maxmemory=memory // 2 // MB,
        maxclients=REDIS_CLIENTS_EACH * len(topology.processes) + REDIS_CLIENTS_SPARE,
        buffer_hard=max(4, min(256, memory // 2 // MB)),
        buffer_soft=max(2, min(64, memory // 4 // MB)),
    )


def _nginx(memory: int, within: Limits, machine: Machine) -> Nginx:
    workers = _nginx_workers(within)
    room = (memory // workers - NGINX_WORKER) // NGINX_CONNECTION
    connections = min(room, machine.open_files // 2)
    # A body that is large is in a file of its own while it comes.
    return Nginx(workers=workers, connections=connections, open_files=2 * connections)


def _check_connections(
    settings: Settings, needs: Mapping[str, tuple[int, int]], room: Room
) -> None:
    least = sum(least for least, _ in needs.values())
    if least <= room.free:
        return
    fewer = "lower POSTGRES_CP_MAX" if settings.postgres_cp_max else "ask for fewer WORKERS"
    raise ConfigError(
        [
            Problem(
                variable="POSTGRES_HOST",
                value=settings.postgres_host,
                message=f"the server has {room.free} connections for us: of {room.most},"
                f" {room.reserved} are reserved, {room.used} in use and {SPARE_EXTERNAL} spare;"
                f" {len(needs)} processes of Synapse need {least} at the least",
                hint="set max_connections of the server to at least"
                f" {room.most + least - room.free}, or {fewer}",
            )
        ]
    )


def _fitting(settings: Settings, idle: Idle, processes: int, missing: int) -> int:
    """About how many workers fit where so many bytes are missing; negative if not main alone."""
    pool = settings.postgres_cp_max or max(
        connections.LEAST_CONNECTIONS, settings.postgres_cp_min or 1
    )
    own = idle.each + AT_WORK + CACHES_LEAST
    cost = own + (pool * CONNECTION if settings.embedded_postgres else 0)
    # With each goes its part of the reserve.
    return processes - 1 - -(-missing * (RESERVE_PART - 1) // (cost * RESERVE_PART))


def _too_little(
    settings: Settings,
    topology: Topology,
    within: Limits,
    parts: Mapping[str, Part],
    idle: Idle,
    least: int,
) -> Problem:
    """The numbers of a plan that does not fit."""
    count = len(topology.processes)
    needed = max(least + RESERVE_LEAST, -(-least * RESERVE_PART // (RESERVE_PART - 1)))
    server = sum(
        part.least for name, part in parts.items() if name not in ("caches", "redis", "nginx")
    )
    takes = {
        f"Synapse's {count} process{'es' if count > 1 else ''}": _synapse(idle, topology),
        "their caches": parts["caches"].least,
        "PostgreSQL": server + (POSTGRES if settings.embedded_postgres else 0),
        "Redis": parts["redis"].least,
        "nginx": parts["nginx"].least,
        "the control application": CONTROL if settings.test_mode else 0,
        "the kernel": needed - least,
    }
    listed = ", ".join(f"{name} {amount(size)}" for name, size in takes.items() if size)
    ways = [f"give it at least {amount(needed)} (docker run --memory, or GANGLION_MEMORY)"]
    fitting = _fitting(settings, idle, count, needed - within.memory)
    if fitting >= 0:
        ways.append(f"ask for at most {fitting} WORKERS")
    if settings.postgres_cp_max and settings.embedded_postgres:
        ways.append("lower POSTGRES_CP_MAX")
    if not settings.prefork:
        ways.append("unset GANGLION_PREFORK")
    return Problem(
        variable="memory",
        value=amount(within.memory),
        message=f"({within.memory_from}) is less than the {amount(needed)} that these need:"
        f" {listed}",
        hint=", or ".join(ways),
    )
