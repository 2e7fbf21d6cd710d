"""What the budget shares out, as values: docs/budget.md tells how it comes about."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ganglion.budget.connections import ConnectionPool
from ganglion.machine.limits import Limits

KB, MB, GB = 1024, 1024**2, 1024**3


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Something that can do with more or less: bytes at least and at most, and its part of what
    memory is left, in thousandths.
    """

    least: int
    part: int
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """What one service asks of the memory: `fixed` amounts in bytes, and parts, both by name.

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
class Budget:
    """Everything that is shared out. `memory` is what each thing is given, in bytes: all of what
    there is, as the kernel's cache of files has the rest.
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
