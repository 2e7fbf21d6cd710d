"""From one exported deployment to another: changed objects, their order, the interruption."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ganglion.export.deployment import Deployment
from ganglion.export.units import POSTGRES, Unit, dns
from ganglion.programs.synapse.options import shared_lists

# The targets' commands that stop everything and keep the data.
STOP = {"compose": "docker compose stop", "swarm": "docker stack rm ganglion"}
DEPLOY = {
    "compose": "docker compose up --detach --wait",
    "swarm": "docker stack deploy --compose-file FILE --resolve-image=never ganglion",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """The units that are added, removed, and replaced, in this order.

    One reader more or less of a pool is a unit of its own here: the rest of the pool stays.
    `scaled` has each unit with a range whose numbers change, before and after.
    `postgres` says whether PostgreSQL, which the target brings along, gets another number of
    connections, and so starts anew. `together` says whether all containers have to stop before the
    first new one starts: the lists by which processes share work differ.
    """

    added: tuple[Unit, ...]
    removed: tuple[Unit, ...]
    replaced: tuple[Unit, ...]
    scaled: tuple[tuple[Unit, Unit], ...]
    together: bool
    postgres: bool

    @property
    def nothing(self) -> bool:
        """Whether both deployments are the same."""
        return not (self.added or self.removed or self.replaced or self.scaled or self.postgres)


def between(old: Deployment, new: Deployment) -> Rollout:
    """Compare two deployments of one server. nginx comes last, as its pools need the others."""
    before = {unit.name: unit for unit in old.units}
    after = {unit.name: unit for unit in new.units}
    replaced = [
        unit
        for name, unit in after.items()
        if name in before and _differ(old, before[name], new, unit)
    ]
    return Rollout(
        added=tuple(_beyond(after, before)),
        removed=tuple(_beyond(before, after)),
        replaced=tuple(sorted(replaced, key=lambda unit: (unit.is_nginx, not unit.is_main))),
        scaled=tuple(
            (before[name], unit)
            for name, unit in after.items()
            if name in before
            and _ranged(before[name], unit)
            and before[name].numbers != unit.numbers
        ),
        together=shared_lists(old.plan.topology) != shared_lists(new.plan.topology),
        postgres=POSTGRES in old.stores
        and POSTGRES in new.stores
        and old.connections != new.connections,
    )


def _differ(old: Deployment, before: Unit, new: Deployment, after: Unit) -> bool:
    """Return whether a container that both have differs."""
    return any(
        _text(old, before, only) != _text(new, after, only)
        for only in after.only
        if only in before.only
    )


def _ranged(*units: Unit) -> bool:
    return any(unit.least is not None for unit in units)


def _beyond(units: Mapping[str, Unit], others: Mapping[str, Unit]) -> Iterator[Unit]:
    """Yield the units that the others lack, and each process that theirs of the same name lack."""
    for name, unit in units.items():
        if name not in others:
            yield unit
            continue
        if _ranged(unit, others[name]):
            continue
        known = {process.name for process in others[name].processes}
        for process in unit.processes:
            if process.name not in known:
                yield replace(unit, name=dns(process.name), processes=(process,))


def lines(found: Rollout, target: str) -> Iterator[str]:
    """Yield the rollout in words, for a target."""
    if found.nothing:
        yield "nothing changes"
        return
    yield from _changed(found)
    deploy = DEPLOY.get(target, f"apply the files of {target}")
    if found.together:
        stop = STOP.get(target, "stop all containers")
        yield "together the lists of writers, senders, pushers or jobs change, so all stop first"
        yield f"step 1   {stop}"
        yield f"step 2   {deploy}"
        yield "users    no response until main and nginx have started; then clients go on"
        return
    yield f"step 1   {deploy}"
    if target == "kubernetes" and any(unit.is_main for unit in found.replaced):
        yield "order    the Job migrates the database; main waits for it, and the others for both"
    for name, noticed in _interruptions(found, target):
        yield f"users    {name}: {noticed}"


def _changed(found: Rollout) -> Iterator[str]:
    for word, units in (
        ("add", found.added),
        ("remove", found.removed),
        ("replace", found.replaced),
    ):
        if units:
            yield f"{word:<8} {', '.join(map(_shown, units))}"
    for before, after in found.scaled:
        yield f"scale    {after.name}: from {before.numbers} to {after.numbers} containers"
    if found.postgres:
        yield "restart  postgres, for another number of connections"


def _interruptions(found: Rollout, target: str) -> Iterator[tuple[str, str]]:
    if found.postgres:
        yield "postgres", "requests wait until it has started again"
    for before, after in found.scaled:
        if target == "kubernetes" and (before.least is None) != (after.least is None):
            old = "its pods have other names; delete the objects of the old ones when the new ones"
            yield after.name, f"{old} are ready"
    for unit in found.replaced:
        yield unit.name, _noticed(unit, target)
    if found.added or found.removed:
        yield "new and removed units", "nothing, as nginx asks the others of a pool"


def _noticed(unit: Unit, target: str) -> str:
    if unit.is_nginx:
        return "connections end; clients connect again within seconds"
    if not unit.single and target != "compose":
        return "nothing: the next one starts first"
    if not unit.single:
        return "nothing: another of its pool, or the fallback, answers meanwhile"
    if unit.is_main:
        return "requests that need main wait or get status 502 until it has started"
    return "its requests wait, up to half a minute, or go to its fallback"


def as_json(found: Rollout, target: str) -> dict[str, Any]:
    """Return the same as values for JSON."""
    return {
        "added": [unit.name for unit in found.added],
        "removed": [unit.name for unit in found.removed],
        "replaced": [unit.name for unit in found.replaced],
        "scaled": {after.name: [before.numbers, after.numbers] for before, after in found.scaled},
        "together": found.together,
        "postgres": found.postgres,
        "text": list(lines(found, target)),
    }


def _shown(unit: Unit) -> str:
    return unit.name if unit.numbers == "1" else f"{unit.name} ({unit.numbers} containers)"


def _text(deployment: Deployment, unit: Unit, only: str) -> str:
    """Return all that a target writes for a container, as a text."""
    values = sorted(deployment.variables_of(unit, only).items())
    return repr([values, deployment.secrets_of(unit), deployment.configuration])
