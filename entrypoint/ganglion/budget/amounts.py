"""What the budget shares out, as values: docs/budget.md tells how it comes about."""

from collections.abc import Mapping
from dataclasses import dataclass

from ganglion.budget.connections import Pool
from ganglion.machine.limits import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that can do with more or less: bytes at least and at most, and its part of what
    memory is left, in thousandths.
    """

    least: int
    part: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """What Synapse's processes take before they work, in bytes: all together once, and each."""

    shared: int
    each: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """One process's caches: `memory` in bytes is what they should come to."""

    memory: int
    factor: float
    events: int
    # The options of cache_autotuning, in bytes as jemalloc counts; None without jemalloc.
    evict_above: int | None
    evict_until: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Postgres:
    """The embedded server's settings, in MB but for the connections."""

    max_connections: int
    shared_buffers: int
    effective_cache_size: int
    work_mem: int
    maintenance_work_mem: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """The embedded server's settings, in MB but for the clients."""

    maxmemory: int
    maxclients: int
    buffer_hard: int
    buffer_soft: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Nginx:
    """nginx's numbers: the connections and files are those of one worker."""

    workers: int
    connections: int
    open_files: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Everything that is shared out. `memory` is what each thing is given, in bytes: all of what
    there is, as the kernel's cache of files has the rest.
    """

    limits: Limits
    idle: Idle
    memory: Mapping[str, int]
    caches: Mapping[str, Caches]
    pools: Mapping[str, Pool]
    postgres: Postgres | None
    redis: Redis | None
    nginx: Nginx

    @property
    def connections(self) -> int:
        """The connections to PostgreSQL of all pools, when each is full."""
        return sum(pool.most for pool in self.pools.values())
