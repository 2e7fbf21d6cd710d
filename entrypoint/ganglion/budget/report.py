"""The budget as a table: every amount with its reason. And the table of layouts."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from textwrap import wrap
from typing import Any

from ganglion.budget.amounts import MB, Budget, Row
from ganglion.budget.connections import SPARE_EXTERNAL
from ganglion.budget.share_out import AT_WORK, RESERVE_PART
from ganglion.cli.output import columns
from ganglion.machine.limits import amount
from ganglion.settings.variables import Settings
from ganglion.topology.auto import LAYOUTS, Layout, large_enough
from ganglion.topology.topology import Process, Topology

# Variables that replace the cache sizes of the budget.
CACHES_GIVEN = ("SYNAPSE_CACHE_FACTOR", "SYNAPSE_EVENT_CACHE_SIZE")


def ledger(
    settings: Settings, topology: Topology, budget: Budget, service_rows: Iterable[Row]
) -> tuple[Row, ...]:
    """Every amount of the budget: Synapse's, those of the services, and the kernel's.

    The memory of all rows together is the container's.
    """
    return (
        *_synapse(settings, topology, budget),
        *_elsewhere(settings, budget),
        *service_rows,
        Row(
            name="the kernel's reserve",
            amount="",
            memory=budget.memory["reserve"],
            reason=f"a {RESERVE_PART}th of all: sockets, page tables, peaks that nobody planned",
        ),
        Row(
            name="the kernel's cache of files",
            amount="",
            memory=budget.memory["files"],
            reason="what nobody was given: PostgreSQL reads and media are served through it",
        ),
    )


def _groups(topology: Topology) -> Iterator[tuple[str, list[Process]]]:
    """The processes whose amounts are the same, with a name for all of them."""
    found: dict[str, list[Process]] = {}
    for process in topology.processes:
        found.setdefault(process.group, []).append(process)
    for members in found.values():
        first, last = members[0].name, members[-1].name
        yield (first if first == last else f"{first}…{last}"), members


def _synapse(settings: Settings, topology: Topology, budget: Budget) -> Iterator[Row]:
    count = len(topology.processes)
    yield Row(
        name="Synapse's processes",
        amount=f"{count}",
        memory=budget.memory["synapse"],
        reason=f"{amount(budget.idle.shared)} for all, {amount(budget.idle.each)} for each idle"
        f" ({'forked' if settings.prefork else 'started afresh'}), {amount(AT_WORK)} more at work",
    )
    for name, members in _groups(topology):
        caches = budget.caches[members[0].name]
        yield Row(
            name=f"{name}: caches",
            amount=f"factor {caches.factor:g}, {caches.events} events",
            memory=caches.memory * len(members),
            reason=f"{amount(caches.memory)} each, by the weight of what it does; a quarter is"
            " for events"
            + (", eviction beyond" if caches.evict_above else "")
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
        return "SQLite has one for all"
    if settings.postgres_cp_max is not None:
        return "POSTGRES_CP_MAX"
    return "what its roles have work for at once"


def _elsewhere(settings: Settings, budget: Budget) -> Iterator[Row]:
    """The servers outside the container, which take none of its memory."""
    if settings.sqlite is not None:
        yield Row(
            name="SQLite", amount="1 connection", memory=0, reason="a file, no server of its own"
        )
    elif not settings.embedded_postgres:
        yield Row(
            name="external PostgreSQL",
            amount=f"{budget.connections + SPARE_EXTERNAL} connections",
            memory=0,
            reason="its max_connections is asked for at start, and pools shrink to fit",
        )
    if not settings.embedded_redis:
        yield Row(
            name="external Redis",
            amount=f"{settings.redis_host}",
            memory=0,
            reason="not in this container",
        )


def table(budget: Budget, rows: Sequence[Row]) -> str:
    """The rows as a person reads them, with the limits."""
    limits = budget.limits
    cells = [(row.name, row.amount or "-", amount_or_none(row.memory), row.reason) for row in rows]
    total = sum(row.memory for row in rows)
    cells.append(
        (
            "all",
            f"{limits.cpus:g} CPUs ({limits.cpus_from})",
            amount_or_none(total),
            f"{amount(limits.memory)} ({limits.memory_from})",
        )
    )
    return columns(("WHAT", "AMOUNT", "MEMORY", "WHY"), cells)


def amount_or_none(size: int) -> str:
    """A size in M, rounded to the nearest; a dash for none."""
    return f"{(size + MB // 2) // MB}M" if size else "-"


def as_json(
    budget: Budget,
    rows: Sequence[Row],
    amounts: Mapping[str, Mapping[str, int] | None],
    picked: Topology,
    *,
    explain: bool,
) -> str:
    """The same for a program. Sizes are in bytes, PostgreSQL's and Redis's in MB."""
    plan: dict[str, Any] = {
        "limits": asdict(budget.limits),
        "workers": picked.text or "none",
        "rows": [asdict(row) for row in rows],
        "caches": {name: asdict(item) for name, item in budget.caches.items()},
        "pools": {name: asdict(item) for name, item in budget.pools.items()},
        **amounts,
    }
    if explain:
        plan["layouts"] = [
            {**asdict(layout), "workers": _text(layout)}
            | {"large_enough": large_enough(layout, budget.limits)}
            for layout in LAYOUTS
        ]
    return json.dumps(plan, indent=2)


def layouts(budget: Budget) -> str:
    """The table of layouts, with a mark at those that the machine is large enough for."""
    lines = ["LAYOUTS OF WORKERS=auto: the last of those marked * whose plan fits"]
    for layout in LAYOUTS:
        mark = "*" if large_enough(layout, budget.limits) else " "
        size = f"from {layout.cpus:g} CPUs, {amount(layout.memory)}" if layout.cpus else "any"
        lines += [
            f"{mark} {size}: {layout.why}",
            *wrap(_text(layout), 96, initial_indent="    ", subsequent_indent="    "),
        ]
    return "\n".join(lines)


def _text(layout: Layout) -> str:
    return ", ".join(layout.workers.split()) or "none"
