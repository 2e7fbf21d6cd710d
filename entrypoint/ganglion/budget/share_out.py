"""Settings, topology and machine → one plan of memory and connections for the whole container.

Each service states a Demand: fixed amounts, and parts with a least and a most. Everything gets its
fixed amount and its least. What memory is left is shared out by the parts, so more memory never
gives anything less. docs/budget.md explains it at length.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ganglion.budget import connections
from ganglion.budget.amounts import GB, KB, MB, Budget, Caches, Demand, Idle, Part
from ganglion.budget.connections import CONNECTION, SPARE_EXTERNAL, ServerConnections
from ganglion.errors import ConfigError, Problem
from ganglion.machine import limits
from ganglion.machine.installed import Machine
from ganglion.machine.limits import Limits, amount
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Topology

# The kernel's own share: sockets, page tables and unplanned peaks.
RESERVE_LEAST, RESERVE_PART = 32 * MB, 20
# PSS (/proc/PID/smaps_rollup) of the image's processes, idle, on 2026-11-25: 123M for supervisor
# and main alone, 154M with 2 workers, 276M with 10, 358M with the 16 of complement. Shared memory
# is counted once, with the supervisor. Python 3.11 writes reference counts into shared pages, so
# each takes 50M there.
SHARED, EACH_FORKED, EACH_COUNTING = 110 * MB, 16 * MB, 50 * MB
# A Python of its own with Synapse in it: 104M to 106M of PSS, idle, on 3.11.
SUPERVISOR, EACH_FRESH = 30 * MB, 100 * MB
# The memory of a working process beyond its idle size and its caches. An estimate.
AT_WORK = 30 * MB
# 20000 events of a room, in a process with Synapse imported, took 58 MB of PSS: 2.9 kB each. State
# and relations come on top of it.
EVENT = 4 * KB
# The part of a process's caches that is for events; they have an option of their own.
EVENT_PART = 4
# The size of all other caches at a factor of 1. An estimate: together they have about two million
# entries, and not every cache fills.
AT_FACTOR_ONE = 256 * MB
FACTORS = (0.1, 10.0)
# The allocation that jemalloc counts in an idle process that has imported Synapse: 27 MB of 115 MB
# PSS. Python's small objects are not in it, PYTHONMALLOC=malloc would put them there.
ALLOCATED_AT_START = 32 * MB
CACHES_LEAST, CACHES_MOST = 16 * MB, 4 * GB
# Beside the roles that no worker has: a quarter of Synapse's requests only main answers.
MAIN_WEIGHT = 5
# A test server gets at most this much beyond the least of everything. It has few users, and many
# may run side by side, each planning with half of the machine: 20 in a machine of 24G took 246M of
# PSS each, 85M of it PostgreSQL's and 14M nginx's, and 181M with GANGLION_MEMORY=768M.
ENOUGH_FOR_TESTS = 512 * MB


def share_out(
    settings: Settings,
    topology: Topology,
    machine: Machine,
    demands: Iterable[Demand],
    server: ServerConnections | None = None,
) -> Budget:
    """Share out memory and connections among Synapse's processes and the services' `demands`.

    `server` is what an external PostgreSQL server says of its connections.

    Raises ConfigError where the least of everything is more than there is.
    """
    within = limits.chosen(machine.limits, memory=settings.memory, cpus=settings.cpus)
    reserve = max(RESERVE_LEAST, within.memory // RESERVE_PART)
    needs = connections.bounds(settings, topology)
    if server is not None:
        _check_connections(settings, needs, server)
    idle = _idle(settings, machine)
    asked = (*_synapse(settings, topology, idle), *demands)
    fixed = {name: size for demand in asked for name, size in demand.fixed.items()}
    parts = {name: part for demand in asked for name, part in demand.parts.items()}
    least = sum(demand.least for demand in asked)
    left = within.memory - reserve - least
    if left < 0:
        raise ConfigError([_too_little(settings, topology, within, asked, idle)])
    if settings.test_mode and settings.memory is None:
        left = min(left, ENOUGH_FOR_TESTS)
    given = {
        name: min(part.most, part.least + left * part.part // 1000) for name, part in parts.items()
    }
    further = _further(parts.get("connections"), given, needs, server)
    pools = connections.fill(settings, needs, further)
    caches = _caches(settings, topology, machine, given["caches"])
    given["caches"] = sum(item.memory for item in caches.values())
    if "connections" in given:
        given["connections"] = CONNECTION * sum(pool.most for pool in pools.values())
    taken = {"reserve": reserve, **fixed, **given}
    return Budget(
        limits=within,
        idle=idle,
        memory={**taken, "files": within.memory - sum(taken.values())},
        caches=caches,
        pools=pools,
    )


def _idle(settings: Settings, machine: Machine) -> Idle:
    if not settings.prefork:
        return Idle(shared=SUPERVISOR, each=EACH_FRESH)
    return Idle(shared=SHARED, each=EACH_FORKED if machine.immortal else EACH_COUNTING)


def _synapse(settings: Settings, topology: Topology, idle: Idle) -> tuple[Demand, Demand]:
    """The memory of Synapse's processes before their caches fill, and the caches.

    All parts together leave a tenth to the kernel's file cache, through which PostgreSQL reads.
    """
    count = len(topology.here)
    part = 450 if settings.embedded_postgres else 700
    return (
        Demand(
            label=f"Synapse's {count} process{'es' if count > 1 else ''}",
            fixed={"synapse": idle.shared + count * (idle.each + AT_WORK)},
        ),
        Demand(
            label="their caches",
            parts={"caches": Part(least=count * CACHES_LEAST, part=part, most=count * CACHES_MOST)},
        ),
    )


def _further(
    part: Part | None,
    given: Mapping[str, int],
    needs: Mapping[str, tuple[int, int]],
    server: ServerConnections | None,
) -> int:
    """How many connections there are beyond those that are needed: as many as there is memory for,
    or as an external server can give.
    """
    if server is not None:
        return server.free - sum(least for least, _ in needs.values())
    if part is not None:
        return (given["connections"] - part.least) // CONNECTION
    return sum(most - least for least, most in needs.values())


def _caches(
    settings: Settings, topology: Topology, machine: Machine, memory: int
) -> dict[str, Caches]:
    """Each process's caches. Memory beyond the least is distributed by the weight of its work."""
    weights = {
        process.name: (MAIN_WEIGHT if process.is_main else 1)
        + sum(role.caches for role in connections.work_of(process, topology))
        for process in topology.here
    }
    further, all_weights = memory - len(weights) * CACHES_LEAST, sum(weights.values())
    found = {
        name: _caches_of(min(CACHES_MOST, CACHES_LEAST + further * weight // all_weights), machine)
        for name, weight in weights.items()
    }
    # A variable decides the size of the caches; eviction still starts at the end of the memory.
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


def _check_connections(
    settings: Settings, needs: Mapping[str, tuple[int, int]], server: ServerConnections
) -> None:
    least = sum(least for least, _ in needs.values())
    if least <= server.free:
        return
    fewer = "lower POSTGRES_CP_MAX" if settings.postgres_cp_max else "ask for fewer WORKERS"
    raise ConfigError(
        [
            Problem(
                variable="POSTGRES_HOST",
                value=settings.postgres_host,
                message=f"the server has {server.free} connections for us: of {server.most},"
                f" {server.reserved} are reserved, {server.used} in use and {SPARE_EXTERNAL} spare;"
                f" {len(needs)} processes of Synapse need {least} at the least",
                hint="set max_connections of the server to at least"
                f" {server.most + least - server.free}, or {fewer}",
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
    asked: Iterable[Demand],
    idle: Idle,
) -> Problem:
    """The numbers of a plan that does not fit."""
    count = len(topology.here)
    takes = {demand.label: demand.least for demand in asked}
    least = sum(takes.values())
    needed = max(least + RESERVE_LEAST, -(-least * RESERVE_PART // (RESERVE_PART - 1)))
    takes["the kernel"] = needed - least
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
        message=f"is less than the {amount(needed)} that these need: {listed};"
        f" the limit is {within.memory_from}",
        hint=", or ".join(ways),
    )
