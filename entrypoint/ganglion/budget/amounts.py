"""The values of the budget. docs/budget.md explains how they are computed."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ganglion.budget.connections import ConnectionPool
from ganglion.machine.limits import Limits

KB, MB, GB = 1024, 1024**2, 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A flexible amount: its least and most in bytes, and its part of the memory that is left, in
    thousandths.
    """

    least: int
    part: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """The memory that one service asks for: `fixed` amounts in bytes, and parts, both by name.

    `label` names the service in messages. Names are unique over all services.
    """

    label: str
    fixed: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, Part] = field(default_factory=dict)

    @property
    def least(self) -> int:
        """The bytes that the service cannot do without."""
        return sum(self.fixed.values()) + sum(part.least for part in self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the budget's table. `memory` is its part of the container's memory, in bytes."""

    name: str
    amount: str
    memory: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Idle:
    """The memory of idle Synapse processes, in bytes: shared by all, and of each."""

    shared: int
    each: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Caches:
    """One process's caches. `memory` is their intended size in bytes."""

    memory: int
    factor: float
    events: int
    # The options of cache_autotuning, in bytes as jemalloc counts; None without jemalloc.
    evict_above: int | None
    evict_until: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """Every amount that is shared out.

    `memory` is the share of each service or purpose, in bytes. Together they are the whole limit,
    as the kernel's file cache (`files`) gets the rest.
    """

    limits: Limits
    idle: Idle
    memory: Mapping[str, int]
    caches: Mapping[str, Caches]
    pools: Mapping[str, ConnectionPool]

    @property
    def connections(self) -> int:
        """The connections to PostgreSQL of all pools, when each is full."""
        return sum(pool.most for pool in self.pools.values())
