"""Print the memory and connections of each process, with reasons.

Prints one line for each amount: caches, connection pools, PostgreSQL's,
Redis's and nginx's limits. The memory of all lines adds up to the container's
limit. --memory and --cpus show the budget of another machine. --explain adds
the layouts among which WORKERS=auto chooses.

In JSON, sizes are in bytes; PostgreSQL's and Redis's are in MB.
"""

from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from textwrap import wrap
from typing import Any, TypeVar

from ganglion.budget.amounts import MB, Budget, Row
from ganglion.budget.report import rows
from ganglion.cli.output import columns, print_json, print_notes
from ganglion.cli.verb import Verb
from ganglion.errors import ConfigError, Problem
from ganglion.machine.limits import amount
from ganglion.plan import assemble
from ganglion.programs import registry
from ganglion.programs.program import Plan
from ganglion.settings import parsers
from ganglion.settings.variables import Settings
from ganglion.topology.auto import LAYOUTS, Layout, large_enough

T = TypeVar("T")

# Options in the operator's files that override parts of the budget.
OVERRIDES = ("caches", "event_cache_size")


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--memory", metavar="SIZE", help="plan for this much memory, such as 4G")
    parser.add_argument("--cpus", metavar="N", help="plan for this many processors, such as 2")
    parser.add_argument(
        "--explain", action="store_true", help="also print the layouts of WORKERS=auto"
    )


def run(options: Namespace, environ: Mapping[str, str]) -> int:
    def as_asked(settings: Settings) -> Settings:
        memory = _parsed("--memory", options.memory, parsers.size, settings.memory)
        cpus = _parsed("--cpus", options.cpus, parsers.processors, settings.cpus)
        return replace(settings, memory=memory, cpus=cpus)

    plan = assemble(environ, as_asked)
    found = rows(plan.settings, plan.topology, plan.budget, registry.rows(plan))
    if options.json:
        print_json(as_json(plan, found, explain=options.explain))
    else:
        print(as_table(plan.budget, found))
        if options.explain:
            print(f"\n{layouts(plan.budget)}")
    print_notes(plan.topology.notes)
    print_notes(
        f"your own files set {name}, which overrides the budget"
        for name in OVERRIDES
        if name in plan.operator.options
    )
    return 0


def _parsed(name: str, text: str | None, parser: Callable[[str], T], default: T) -> T:
    """Parse the value of an option. Raises ConfigError."""
    if text is None:
        return default
    try:
        return parser(text)
    except parsers.Invalid as invalid:
        problem = Problem(variable=name, value=text, message=invalid.message, hint=invalid.hint)
        raise ConfigError([problem]) from invalid


def as_table(budget: Budget, rows: Sequence[Row]) -> str:
    """Format the rows, with the limits in the last line."""
    limits = budget.limits
    cells = [(row.name, row.amount or "-", _megabytes(row.memory), row.reason) for row in rows]
    cells.append(
        (
            "all",
            f"{limits.cpus:g} CPUs: {limits.cpus_from}",
            _megabytes(sum(row.memory for row in rows)),
            f"{amount(limits.memory)}: {limits.memory_from}",
        )
    )
    return columns(("WHAT", "AMOUNT", "MEMORY", "WHY"), cells)


def _megabytes(size: int) -> str:
    """Format bytes as M, rounded to the nearest; a dash for 0."""
    return f"{(size + MB // 2) // MB}M" if size else "-"


def as_json(plan: Plan, rows: Sequence[Row], *, explain: bool) -> dict[str, Any]:
    """Return the rows and the amounts behind them as values for JSON."""
    budget = plan.budget
    found: dict[str, Any] = {
        "limits": asdict(budget.limits),
        "workers": plan.topology.text or "none",
        "rows": [asdict(row) for row in rows],
        "caches": {name: asdict(item) for name, item in budget.caches.items()},
        "pools": {name: asdict(item) for name, item in budget.pools.items()},
        **registry.amounts(plan),
    }
    if explain:
        found["layouts"] = [
            {**asdict(layout), "workers": _workers(layout)}
            | {"large_enough": large_enough(layout, budget.limits)}
            for layout in LAYOUTS
        ]
    return found


def layouts(budget: Budget) -> str:
    """Format the layouts of WORKERS=auto. A * marks each that the machine is large enough for."""
    lines = ["LAYOUTS OF WORKERS=auto: the last one marked * whose budget fits"]
    for layout in LAYOUTS:
        mark = "*" if large_enough(layout, budget.limits) else " "
        size = f"from {layout.cpus:g} CPUs, {amount(layout.memory)}" if layout.cpus else "any"
        lines += [
            f"{mark} {size}: {layout.why}",
            *wrap(_workers(layout), 96, initial_indent="    ", subsequent_indent="    "),
        ]
    return "\n".join(lines)


def _workers(layout: Layout) -> str:
    return ", ".join(layout.workers.split()) or "none"


VERB = Verb(name="budget", manual=__doc__, run=run, options=options, json=True)
