"""Changes in words and as JSON: the steps, the interruption of requests, memory and connections."""

from collections.abc import Iterator, Mapping
from typing import Any

from ganglion.budget.amounts import Budget
from ganglion.changes.layout import Layout
from ganglion.changes.steps import Action, Changes, Step
from ganglion.machine.limits import amount
from ganglion.routing.table import table
from ganglion.topology.names import MAIN

# The interruption, in seconds: until processes have ended and nginx has its files, and the work of
# a process until it is ready, on one processor. Measured with 2 processors; a process that is not
# forked imports Synapse by itself. PostgreSQL's restart is an estimate.
STOPPING, EACH_FORKED, EACH_FRESH, POSTGRES = 0.8, 0.25, 2.5, 1.0
NONE = "not interrupted"

WORDS: Mapping[Action, str] = {
    Action.STOP: "stop {names}; requests wait in the sockets",
    Action.FILES: "write the new files",
    Action.PROXY: "reload nginx, which then knows the new pools",
    Action.SERVER: "restart PostgreSQL, which then takes more connections",
    Action.REMOVE: "remove {names}, after the requests in progress",
    Action.START: "start {names}, and wait until all are ready",
    Action.RESTART: "restart {names}, which then knows the new processes",
}


def in_words(step: Step) -> str:
    """Return one line for a step."""
    return WORDS[step.action].format(names=", ".join(step.names))


def seconds(old: Layout, new: Layout, changes: Changes) -> float:
    """Return how long requests to the processes that stop wait, about, in seconds."""
    if not any(step.action is Action.STOP for step in changes.steps):
        return 0.0
    started = next((step.names for step in changes.steps if step.action is Action.START), ())
    each = EACH_FORKED if new.plan.settings.prefork else EACH_FRESH
    cores = max(1, min(old.plan.budget.limits.cores, len(started)))
    restarts = any(step.action is Action.SERVER for step in changes.steps)
    return round(STOPPING + len(started) * each / cores + (POSTGRES if restarts else 0.0), 1)


def interruptions(old: Layout, new: Layout, changes: Changes) -> dict[str, str]:
    """Return the interruption of each kind of request, by the name of its pool now."""
    wait = f"wait about {seconds(old, new, changes):g} s; long polls end early and empty"
    gone = "not interrupted; long polls of removed processes end early and empty"
    stopped = {name for step in changes.steps if step.action is Action.STOP for name in step.names}
    found: dict[str, str] = {}
    for choice in table(old.plan.topology, old.plan.routes.routes):
        members = {member.name for member in choice.pool.members}
        if members & stopped:
            said = wait
        elif members & set(changes.removed):
            said = gone
        elif MAIN in stopped:
            said = "only requests that need main wait"
        else:
            said = NONE
        found.setdefault(choice.pool.name, said)
    return found


def amounts(budget: Budget) -> dict[str, int]:
    """Return the connections of all pools, and memory in bytes: planned, and its largest parts."""
    parts = {name: budget.memory.get(name, 0) for name in ("synapse", "caches")}
    free = budget.memory["files"]
    return {
        "connections": budget.connections,
        "memory": sum(budget.memory.values()) - free,
        **{f"memory_{name}": size for name, size in parts.items()},
        "memory_free": free,
    }


def lines(old: Layout, new: Layout, changes: Changes) -> Iterator[str]:
    """Yield the whole plan in words."""
    if changes.nothing:
        yield "nothing changes: this layout runs already"
        return
    yield f"now     {old.plan.topology.text or 'none'}"
    yield f"after   {new.plan.topology.text or 'none'}"
    yield ""
    for title, names in (
        ("added", changes.added),
        ("removed", changes.removed),
        ("restarted", changes.together),
    ):
        yield f"{title:<11}{', '.join(names) or '-'}"
    left = [name for name in old.processes if name not in (*changes.removed, *changes.together)]
    yield f"{'untouched':<11}{', '.join(left) or '-'}"
    if changes.reasons:
        yield f"{'together':<11}because of {'; '.join(changes.reasons)}"
    yield ""
    for number, step in enumerate(changes.steps, start=1):
        yield f"{number}. {in_words(step)}"
    yield ""
    kinds = interruptions(old, new, changes)
    width = max(map(len, kinds))
    for kind, said in kinds.items():
        yield f"{kind:<{width}}  {said}"
    yield ""
    one, other = amounts(old.plan.budget), amounts(new.plan.budget)
    yield f"connections  {one['connections']} before, {other['connections']} after"
    for name, title in (
        ("memory_synapse", "processes"),
        ("memory_caches", "caches"),
        ("memory_free", "file cache"),
    ):
        yield f"{title:<11}  {amount(one[name])} before, {amount(other[name])} after"
    if left:
        yield (
            "untouched processes keep their caches and connections of before until they are"
            " restarted"
        )


def as_json(old: Layout, new: Layout, changes: Changes) -> dict[str, Any]:
    """Return the whole plan as values for JSON. Sizes are in bytes, times in seconds."""
    return {
        "from": old.plan.topology.text or "none",
        "to": new.plan.topology.text or "none",
        "added": list(changes.added),
        "removed": list(changes.removed),
        "restarted": list(changes.together),
        "together_because": list(changes.reasons),
        "steps": [
            {"do": step.action.value, "names": list(step.names), "text": in_words(step)}
            for step in changes.steps
        ],
        "interruption_seconds": seconds(old, new, changes),
        "interruptions": interruptions(old, new, changes),
        "before": amounts(old.plan.budget),
        "after": amounts(new.plan.budget),
    }
