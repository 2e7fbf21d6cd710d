"""The budget as rows: every amount with its reason. How they are printed is in cli/."""

from collections.abc import Iterable, Iterator

from ganglion.budget.amounts import Budget, Row
from ganglion.budget.connections import SPARE_EXTERNAL
from ganglion.budget.share_out import AT_WORK, RESERVE_PART
from ganglion.machine.limits import amount
from ganglion.settings.variables import Settings
from ganglion.topology.topology import Process, Topology

# Variables that replace the cache sizes of the budget.
CACHES_GIVEN = ("SYNAPSE_CACHE_FACTOR", "SYNAPSE_EVENT_CACHE_SIZE")


def rows(
    settings: Settings, topology: Topology, budget: Budget, service_rows: Iterable[Row]
) -> tuple[Row, ...]:
    """List every amount of the budget: Synapse's, those of the services, and the kernel's.

    The memory of all rows adds up to the container's.
    """
    return (
        *_synapse(settings, topology, budget),
        *_elsewhere(settings, budget),
        *service_rows,
        Row(
            name="kernel reserve",
            amount="",
            memory=budget.memory["reserve"],
            reason=f"a {RESERVE_PART}th of all memory: sockets, page tables, unplanned peaks",
        ),
        Row(
            name="kernel file cache",
            amount="",
            memory=budget.memory["files"],
            reason="the rest: serves PostgreSQL's reads and media",
        ),
    )


def _groups(topology: Topology) -> Iterator[tuple[str, list[Process]]]:
    """Yield the processes that have the same amounts, with one name for all of them."""
    found: dict[str, list[Process]] = {}
    for process in topology.here:
        found.setdefault(process.group, []).append(process)
    for members in found.values():
        first, last = members[0].name, members[-1].name
        yield (first if first == last else f"{first}…{last}"), members


def _synapse(settings: Settings, topology: Topology, budget: Budget) -> Iterator[Row]:
    count = len(topology.here)
    yield Row(
        name="Synapse processes",
        amount=f"{count}",
        memory=budget.memory["synapse"],
        reason=f"{amount(budget.idle.shared)} shared, {amount(budget.idle.each)} each when idle"
        f" ({'forked' if settings.prefork else 'not forked'}), {amount(AT_WORK)} more at work",
    )
    for name, members in _groups(topology):
        caches = budget.caches[members[0].name]
        yield Row(
            name=f"{name}: caches",
            amount=f"factor {caches.factor:g}, {caches.events} events",
            memory=caches.memory * len(members),
            reason=f"{amount(caches.memory)} each, by the weight of its roles; a quarter for events"
            + (", evicts above that" if caches.evict_above else "")
            + "".join(f"; {name}" for name in CACHES_GIVEN if name in settings.given),
        )
    for name, members in _groups(topology):
        pool = budget.pools[members[0].name]
        yield Row(
            name=f"{name}: connections",
            amount=f"{pool.least} to {pool.most} each",
            memory=0,
            reason=_why_connections(settings),
        )


def _why_connections(settings: Settings) -> str:
    if settings.sqlite is not None:
        return "SQLite has one for all processes"
    if settings.postgres_cp_max is not None:
        return "POSTGRES_CP_MAX"
    return "as many as its roles use at once"


def _elsewhere(settings: Settings, budget: Budget) -> Iterator[Row]:
    """Yield the databases that take none of the container's memory."""
    if settings.sqlite is not None:
        yield Row(name="SQLite", amount="1 connection", memory=0, reason="a file without a server")
    elif settings.external_postgres:
        yield Row(
            name="external PostgreSQL",
            amount=f"{budget.connections + SPARE_EXTERNAL} connections",
            memory=0,
            reason="read from the server at start; pools shrink to fit its max_connections",
        )
    if settings.uses_stores and not settings.embedded_redis:
        yield Row(
            name="external Redis",
            amount=f"{settings.redis_host}",
            memory=0,
            reason="not in this container",
        )
