"""The memory of each unit's containers."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from ganglion.budget.amounts import GB, MB
from ganglion.errors import ConfigError, Problem
from ganglion.export.units import Unit, alone
from ganglion.machine.limits import amount
from ganglion.programs.program import Plan
from ganglion.programs.registry import share_out
from ganglion.topology.roles import BY_NAME

# A container gets this much beyond its least for each unit of weight, unless GANGLION_MEMORY
# divides an amount among all. The weights of caches are 1 to 6: topology/roles.py.
EACH_WEIGHT = 64 * MB
MAIN_WEIGHT = 6
# Those of the machines are unknown. nginx has a worker for each, up to as many.
PROCESSORS = 4.0
STEP, MOST = 16 * MB, 64 * GB


def sizes(plan: Plan, split: Sequence[Unit]) -> tuple[dict[str, int], list[Problem]]:
    """Return the memory of one container of each unit, in bytes, and the problems found.

    GANGLION_MEMORY is that of all containers together.
    """
    least = {unit.name: least_of(plan, unit) for unit in split}
    weights = {unit.name: _weight(unit) for unit in split}
    total = plan.settings.memory
    if total is None:
        return {name: least[name] + EACH_WEIGHT * weights[name] for name in least}, []
    needed = sum(least[unit.name] * unit.replicas for unit in split)
    if needed > total:
        number = sum(unit.replicas for unit in split)
        problem = Problem(
            variable="GANGLION_MEMORY",
            value=amount(total),
            message=f"is less than the {amount(needed)} that {number} containers need together",
            hint=f"set GANGLION_MEMORY to at least {amount(needed)}, unset it, or ask for fewer"
            " WORKERS",
        )
        return least, [problem]
    everything = sum(weights[unit.name] * unit.replicas for unit in split)
    each = (total - needed) // everything
    return {
        unit.name: (least[unit.name] + each * weights[unit.name]) // MB * MB for unit in split
    }, []


def least_of(plan: Plan, unit: Unit) -> int:
    """Return the least memory in which a container of a unit starts, in bytes."""
    alone = _alone(plan, unit)
    return next(size for size in _candidates() if _fits(alone, size))


def _candidates() -> Iterator[int]:
    size = 4 * STEP
    while size <= MOST:
        yield size
        size += STEP
    raise LookupError("no container is large enough for one process")


def _fits(plan: Plan, memory: int) -> bool:
    try:
        share_out(replace(plan.settings, memory=memory), plan.topology, plan.machine)
    except ConfigError:
        return False
    return True


def _alone(plan: Plan, unit: Unit) -> Plan:
    """Return the plan of one container of a unit."""
    process = unit.processes[0] if unit.processes else None
    return replace(
        plan,
        settings=replace(plan.settings, only=(unit.only[0],)),
        machine=replace(plan.machine, limits=replace(plan.machine.limits, cpus=PROCESSORS)),
        topology=alone(plan.topology, process),
    )


def _weight(unit: Unit) -> int:
    if unit.is_nginx:
        return 1
    process = unit.processes[0]
    return (MAIN_WEIGHT if process.is_main else 1) + sum(
        BY_NAME[role].caches for role in process.roles
    )
